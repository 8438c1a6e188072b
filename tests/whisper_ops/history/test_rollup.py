"""What is rolled up equals what the polls say: late, out of order, across restarts and after old polls were deleted."""

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whisper_ops.histogram import BUCKETS
from whisper_ops.history import History
from whisper_ops.history.retention import DAY, Retention
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

HOUR = 3600.0
EVER = 1e12
RATIOS = st.none() | st.floats(0, 1, allow_nan=False, width=32)


@st.composite
def polls(draw: st.DrawFn) -> Snapshot:
    server = draw(st.sampled_from(["one", "two"]))
    at = draw(st.integers(0, 4 * 3600 * 2)) / 2
    if draw(st.integers(0, 5)) == 0:
        return Snapshot(server=server, at=at, state="silent", error="gone")
    bucket = draw(st.none() | st.integers(0, BUCKETS - 1))
    counts = None if bucket is None else tuple(int(i == bucket) * 3 for i in range(BUCKETS))
    return Snapshot(
        server=server,
        at=at,
        figures=ServerFigures(
            streams_active=draw(st.none() | st.integers(0, 100)),
            lag_p95_seconds=draw(RATIOS),
            lag_bucket_counts=counts,
        ),
        gpus=tuple(GpuFigures(gpu_id=i, busy_ratio=draw(RATIOS)) for i in range(draw(st.integers(0, 2)))),
        host=HostFigures(cpu_ratio=draw(RATIOS)) if draw(st.booleans()) else None,
    )


steps = st.lists(
    st.lists(polls(), min_size=1, max_size=6)
    | st.sampled_from(["roll up", "restart", "roll up some"])
    | st.tuples(st.sampled_from(["raw", "minute"]), st.integers(1, 5)),
    max_size=12,
)


class Told:
    """The reference: every poll that was put in, the newest word for each server and time."""

    def __init__(self) -> None:
        self.polls: dict[tuple[str, float], Snapshot] = {}

    def fresh(self, batch: Iterable[Snapshot]) -> list[Snapshot]:
        """Those not told before: a poll that retention already rolled up and deleted cannot be replaced any more."""
        new = {(poll.server, poll.at): poll for poll in batch if (poll.server, poll.at) not in self.polls}
        self.polls |= new
        return list(new.values())

    def rolled(self, kind: str, metric: str, length: float) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        groups: dict[tuple[Any, ...], list[tuple[float, float | None]]] = {}
        for (server, at), poll in sorted(self.polls.items()):
            for key, value in _values(poll, kind, metric):
                groups.setdefault((server, at // length * length, *key), []).append((at, value))
        return {key: _fold(rows) for key, rows in groups.items()}

    def counted(self, length: float) -> dict[tuple[str, float], Counter[int] | None]:
        groups: dict[tuple[str, float], Counter[int] | None] = {}
        for (server, at), poll in self.polls.items():
            counts = None if poll.figures is None else poll.figures.lag_bucket_counts
            key = (server, at // length * length)
            groups.setdefault(key, None)
            if counts is not None:
                groups[key] = (groups[key] or Counter()) + Counter({i: n for i, n in enumerate(counts) if n})
        return groups


def _values(poll: Snapshot, kind: str, metric: str) -> list[tuple[tuple[int, ...], float | None]]:
    if kind == "gpu":
        return [((gpu.gpu_id,), getattr(gpu, metric)) for gpu in poll.gpus]
    if kind == "host":
        return [] if poll.host is None else [((), getattr(poll.host, metric))]
    return [((), None if poll.figures is None else getattr(poll.figures, metric))]


def _fold(rows: list[tuple[float, float | None]]) -> tuple[Any, ...]:
    known = [value for _, value in rows if value is not None]
    if not known:
        return (len(rows), 0, None, None, None, rows[-1][1])
    return (len(rows), len(known), math.fsum(known), min(known), max(known), rows[-1][1])


def stored(path: Path, kind: str, metric: str, tier: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    gpu = ", gpu_id" if kind == "gpu" else ""
    m = metric
    sql = f"""SELECT name, at, polls, {m}_n, {m}_sum, {m}_min, {m}_max, {m}_last {gpu}
              FROM {kind}_{tier} JOIN server ON server.id = server_id"""
    connection = sqlite3.connect(path)
    rows = connection.execute(sql).fetchall()
    connection.close()
    return {(row[0], row[1], *row[8:]): row[2:8] for row in rows}


def assert_same(found: dict[Any, tuple[Any, ...]], wanted: dict[Any, tuple[Any, ...]]) -> None:
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        for value, expected in zip(found[key], row, strict=True):
            assert value == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-3)), key


def late(*times: float) -> list[Snapshot]:
    return [Snapshot(server="one", at=at, figures=ServerFigures(streams_active=int(at))) for at in times]


@settings(max_examples=80, deadline=None)
@given(steps)
@example([late(10.0, 3610.0), "roll up", ("raw", 1), late(11.0, 12.0), "roll up", late(9.0), ("minute", 1), late(8.0)])
@example([late(10.0), ("raw", 5), late(20.0), "restart", "roll up", late(30.0), ("minute", 5), late(40.0)])
def test_rollups_equal_what_the_polls_say(told: list[Any]) -> None:
    reference = Told()
    with TemporaryDirectory() as folder:
        path = Path(folder, "history.db")
        history = History.writing(path)
        for step in told:
            match step:
                case list() as batch:
                    history.polls.add(reference.fresh(batch))
                case "roll up":
                    history.polls.roll_up(EVER)
                case "roll up some":
                    history.polls.roll_up(EVER, limit=1)
                case "restart":
                    history.close()
                    history = History.writing(path)
                case (tier, hours):
                    assert isinstance(tier, str)
                    _prune(history, tier, hours)
        while history.polls.roll_up(EVER, limit=3):
            pass
        kept = history.database.rows("SELECT name, since FROM kept JOIN server ON id = server_id WHERE tier = 'minute'")
        minutes_since = {row["name"]: row["since"] for row in kept}
        history.close()
        for tier, length in (("minute", 60.0), ("hour", HOUR)):
            for kind, metric in (
                ("server", "streams_active"), ("server", "lag_p95_seconds"),
                ("gpu", "busy_ratio"), ("host", "cpu_ratio"),
            ):  # fmt: skip
                found, wanted = stored(path, kind, metric, tier), reference.rolled(kind, metric, length)
                since = minutes_since if tier == "minute" else {}
                assert_same(
                    {key: row for key, row in found.items() if key[1] >= since.get(key[0], 0)},
                    {key: row for key, row in wanted.items() if key[1] >= since.get(key[0], 0)},
                )
        assert _stored_counts(path, "hour") == reference.counted(HOUR)


def _prune(history: History, tier: str, hours: int) -> None:
    now = 100 * HOUR
    age = now - hours * HOUR
    keep = {"raw_seconds": EVER, "minute_seconds": EVER, "hour_seconds": EVER, f"{tier}_seconds": age}
    if tier == "minute":
        keep["raw_seconds"] = age  # minutes are never kept shorter than the polls they are made of
    history.polls.prune(now, Retention(**keep, max_bytes=EVER))


def _stored_counts(path: Path, tier: str) -> dict[tuple[str, float], Counter[int] | None]:
    connection = sqlite3.connect(path)
    rows = connection.execute(
        f"SELECT name, at, lag_bucket_counts FROM server_{tier} JOIN server ON server.id = server_id"
    ).fetchall()
    connection.close()
    return {
        (name, at): None if text is None else Counter({int(k): n for k, n in json.loads(text).items()})
        for name, at, text in rows
    }


def test_a_minute_is_rolled_up_when_it_is_over_and_again_when_a_poll_comes_late(tmp_path: Path) -> None:
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(late(0.0, 30.0))
        assert history.polls.roll_up(59.0) == 0
        assert history.polls.roll_up(70.0) == 1
        assert history.polls.roll_up(70.0) == 0
        history.polls.add(late(40.0))
        assert history.polls.roll_up(70.0) == 1
        (row,) = history.database.rows(
            "SELECT polls, streams_active_sum AS total, streams_active_last AS last FROM server_minute"
        )
        assert row == {"polls": 3, "total": 70.0, "last": 40.0}


def test_old_polls_go_when_they_were_rolled_up_and_not_before(tmp_path: Path) -> None:
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(late(*(float(at) for at in range(0, 7200, 60))))
        keep = Retention(raw_seconds=HOUR)
        assert history.polls.prune(10 * HOUR, keep) == 0
        history.polls.roll_up(10 * HOUR)
        assert history.polls.prune(10 * HOUR, keep) == 120
        assert list(history.polls.between("one", 0, EVER)) == []
        ((hours,),) = (tuple(row.values()) for row in history.database.rows("SELECT sum(polls) FROM server_hour"))
        assert hours == 120


def test_the_file_stays_below_its_size(tmp_path: Path) -> None:
    keep = Retention(max_bytes=1e6)
    path = tmp_path / "history.db"
    with History.writing(path) as history:
        for hour in range(60):
            history.polls.add(late(*(hour * HOUR + at * 4.0 for at in range(900))))
            now = (hour + 1) * HOUR
            history.polls.roll_up(now)
            for _ in range(3):
                history.polls.prune(now, keep)
        (row,) = history.database.rows("SELECT count(*) AS n, max(at) AS newest FROM server_sample")
        (hours,) = history.database.rows("SELECT sum(polls) AS n FROM server_hour")
    assert path.stat().st_size < 1.3e6
    assert row["n"] < 60 * 900 / 2
    assert row["newest"] == 60 * HOUR - 4.0
    assert hours["n"] == 60 * 900 - 900 or hours["n"] == 60 * 900


def test_defaults_are_bounded() -> None:
    keep = Retention()
    assert 1 * DAY <= keep.raw_seconds <= keep.minute_seconds <= keep.hour_seconds
