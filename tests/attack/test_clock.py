"""The wall's clock jumps, and what holds for so long is told all the same, no sooner and no later."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.alerts import Alert, AlertBook, AlertChange, AlertRule, load_rules
from dashboard.config import load
from dashboard.monitoring.change_events import ChangeEvents
from dashboard.monitoring.recorder import Recorder
from tests.support.servers import free_port
from whisper_ops.history import AlertRecord, History
from whisper_ops.snapshot import ServerFigures, Snapshot

HOUR = 3600.0
START = 1_795_871_000.0
LAG = AlertRule(name="lag", figure="server.lag_p95_seconds", over=2, clear=1.5, hold_seconds=30, clear_seconds=10)


class Clocks:
    """Two clocks: one that only goes on, and the wall's, which somebody sets."""

    def __init__(self) -> None:
        self.passed, self.jump = 0.0, 0.0

    def steady(self) -> float:
        return 77.0 + self.passed

    @property
    def wall(self) -> float:
        return START + self.passed + self.jump


def polls(clocks: Clocks, seconds: int, lag: float | None) -> Iterator[Snapshot]:
    """A poll a second; no lag: the server is dead."""
    for _ in range(seconds):
        clocks.passed += 1
        if lag is None:
            yield Snapshot(server="one", at=clocks.wall, state="silent", error="gone")
        else:
            yield Snapshot(server="one", at=clocks.wall, figures=ServerFigures(lag_p95_seconds=lag))


def fed(book: AlertBook, clocks: Clocks, seconds: int, lag: float | None) -> list[tuple[int, AlertChange]]:
    began = clocks.passed
    return [
        (round(clocks.passed - began), change) for poll in polls(clocks, seconds, lag) for change in book.take(poll)
    ]


def silence() -> list[AlertRule]:
    return [rule for rule in load_rules() if rule.name == "server silent"]


@pytest.mark.parametrize("jump", [-HOUR, HOUR, -24 * HOUR])
def test_a_server_that_dies_as_the_clock_is_set_is_told_after_as_long_as_ever(jump: float) -> None:
    clocks = Clocks()
    book = AlertBook(silence(), clocks.steady)
    assert fed(book, clocks, 10, 0.5) == []
    clocks.jump = jump
    ((after, change),) = fed(book, clocks, 60, None)
    assert (after, change.kind) == (7, "started"), "over 5 s since the first poll without an answer"
    assert change.alert.value == 6
    ((_, over),) = fed(book, clocks, 2, 0.5)
    assert over.alert.until is not None
    assert over.alert.until - over.alert.since == pytest.approx(54)


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_jump_within_a_hold_time_neither_fulfils_it_nor_begins_it_again(jump: float) -> None:
    clocks = Clocks()
    book = AlertBook([LAG], clocks.steady)
    assert fed(book, clocks, 15, 3.0) == []
    clocks.jump = jump
    ((after, change),) = fed(book, clocks, 60, 3.0)
    assert after == 16
    alert = change.alert
    clocks.jump = 0.0
    assert fed(book, clocks, 5, 1.0) == []
    clocks.jump = jump
    ((after, over),) = fed(book, clocks, 30, 1.0)
    assert after == 6
    assert isinstance(over.alert, Alert)
    # It keeps the name under which the history knows it, and lasted as long as it did.
    assert over.alert.since == alert.since == START + 1
    assert over.alert.until == pytest.approx(START + 76)


def test_an_alert_of_the_watcher_before_goes_on_under_a_clock_of_its_own() -> None:
    clocks = Clocks()
    book = AlertBook([*silence(), LAG], clocks.steady)
    book.resume(
        AlertRecord(
            rule=rule, severity="critical", server="one", started_at=time.time() - 500, sentence="", mean_value=9.0
        )
        for rule in ("lag", "server silent")
    )
    clocks.jump = time.time() - START
    changes = [change for _, change in fed(book, clocks, 2, None)]
    assert [change.alert.rule for change in changes] == ["server silent"]
    assert 480 < changes[0].alert.value < 520


def test_how_long_a_silence_lasted_is_what_passed() -> None:
    clocks = Clocks()
    seen = ChangeEvents(clocks.steady)
    for poll in polls(clocks, 3, None):
        seen.take(poll)
    clocks.jump = -HOUR
    (event,) = [event for poll in polls(clocks, 1, 0.5) for event in seen.take(poll)]
    assert event.detail == "answers again after 3 s"


async def test_a_recorder_raises_the_alert_when_the_clock_goes_back_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = '[alert."server silent"]\nfigure = "silent_seconds"\nover = 1\nhold_seconds = 0\n'
    (tmp_path / "rules.toml").write_text(rule)
    watch = load((f"http://127.0.0.1:{free_port()}",), alerts=tmp_path / "rules.toml", interval=0.1)
    said: list[str] = []
    real, back_at = time.time, time.monotonic() + 0.5
    monkeypatch.setattr(time, "time", lambda: real() - (HOUR if time.monotonic() > back_at else 0))
    await Recorder(watch, tmp_path / "history.db", said.append).run(4)
    assert [line for line in said if line.startswith("alert started")], said
    with History.reading(tmp_path / "history.db") as history:
        (alert,) = history.polls.alerts(0.0, real() + 1)
    assert alert.ended_at is None or alert.ended_at >= alert.started_at
