"""A chart is the same whichever tier it is read from, and a gap is a gap."""

from pathlib import Path

import pytest

from whisper_ops.history import ChartQuery, History, Point, Retention
from whisper_ops.snapshot import GpuFigures, ServerFigures, Snapshot

HOUR = 3600.0
LAG = ChartQuery(server="one", metric="lag_p95_seconds")
BUSY = ChartQuery(server="one", metric="busy_ratio", kind="gpu", gpu_id=1)


def polled(at: float) -> Snapshot:
    """A poll each 10 s; silent in the second half of the second hour; no lag known in the first minute of any hour."""
    if 1.5 * HOUR <= at < 2 * HOUR:
        return Snapshot(server="one", at=at, state="silent", error="gone")
    lag = None if at % HOUR < 60 else at / HOUR
    gpus = tuple(GpuFigures(gpu_id=i, busy_ratio=i / 2) for i in range(2))
    return Snapshot(server="one", at=at, figures=ServerFigures(lag_p95_seconds=lag), gpus=gpus)


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History.writing(tmp_path / "history.db")
    history.polls.add([polled(at * 10.0) for at in range(360 * 4)])
    return history


def test_steps_hold_their_known_values_and_a_silence_is_a_gap(history: History) -> None:
    points = history.polls.chart(LAG, 0, 4 * HOUR, 300)
    assert [point.at for point in points] == [at for at in range(0, 14400, 300) if not 5400 <= at < 7200]
    assert (points[0].n, points[1].n) == (24, 30)
    assert points[1].mean == pytest.approx((300 + 590) / 2 / HOUR)
    assert (points[1].minimum, points[1].maximum, points[1].last) == (300 / HOUR, 590 / HOUR, 590 / HOUR)
    (busy, *_) = history.polls.chart(BUSY, 0, HOUR, HOUR)
    assert (busy.n, busy.mean) == (360, 0.5)


@pytest.mark.parametrize("step", [60.0, 600.0, 3600.0, 7200.0])
def test_the_same_chart_before_and_after_rolling_up_and_deleting(history: History, step: float) -> None:
    def chart() -> list[Point]:
        return history.polls.chart(LAG, 0, 4 * HOUR, step)

    raw = chart()
    history.polls.roll_up(3 * HOUR + 100)  # the last hour is still under way
    for keep in (Retention(), Retention(raw_seconds=HOUR), Retention(raw_seconds=HOUR, minute_seconds=HOUR)):
        history.polls.prune(3 * HOUR + 100, keep)
        if step >= HOUR or keep.minute_seconds > HOUR:
            assert [point.at for point in chart()] == [point.at for point in raw]
            for point, before in zip(chart(), raw, strict=True):
                assert (point.n, point.minimum, point.maximum, point.last) == (
                    before.n, before.minimum, before.maximum, before.last
                )  # fmt: skip
                assert point.mean == pytest.approx(before.mean)


def test_where_polls_are_gone_the_step_grows(history: History) -> None:
    history.polls.roll_up(9 * HOUR)
    history.polls.prune(9 * HOUR, Retention(raw_seconds=HOUR))
    assert [point.at for point in history.polls.chart(LAG, 600, 900, 1)] == [600.0, 660.0, 720.0, 780.0, 840.0]


def test_unknown_servers_and_metrics(history: History) -> None:
    assert history.polls.chart(ChartQuery(server="two", metric="slots"), 0, 1, 1) == []
    with pytest.raises(ValueError, match="name is no metric of a server"):
        history.polls.chart(ChartQuery(server="one", metric="name"), 0, 1, 1)
