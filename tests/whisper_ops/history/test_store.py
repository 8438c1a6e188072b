"""What is stored comes back as it was: snapshots, measurements, plans."""

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest

from whisper_ops.errors import UserError
from whisper_ops.histogram import BUCKETS
from whisper_ops.history import AlertRecord, History, LevelRecord, StreamRecord, SweepRecord
from whisper_ops.history.migrations import Migrations
from whisper_ops.history.schema import migrations
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

COUNTS = (0, 2, 3, *[0] * (BUCKETS - 3))


def snapshot(at: float, **changes: object) -> Snapshot:
    figures = {
        "identity": Identity(software="whisper-ops", version="1", simulated=True),
        "figures": ServerFigures(status="healthy", slots=4, lag_bucket_counts=COUNTS, started_at=0.5),
        "gpus": (
            GpuFigures(gpu_id=0, streams_active=2, name="H100", state="ready", slots=8),
            GpuFigures(gpu_id=1, temperature_celsius=61.5),
        ),
        "host": HostFigures(hostname="a", cpu_count=2, cpu_ratio=0.5),
        "poll_seconds": 0.01,
    }
    return Snapshot(server="one:8000", at=at, **{**figures, **changes})  # type: ignore[arg-type]


def test_snapshots_come_back_as_they_were_stored(tmp_path: Path) -> None:
    silent = Snapshot(server="one:8000", at=2.0, state="silent", error="connection refused")
    stored = [
        snapshot(1.0),
        silent,
        snapshot(3.0, identity=Identity(version="2")),
        snapshot(4.0, host=None, gpus=()),
    ]
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(stored[:2])
        history.polls.add(stored[2:3])
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add([snapshot(4.0, host=None, gpus=(), identity=Identity(version="2"))])
        expected = [*stored[:3], snapshot(4.0, host=None, gpus=(), identity=Identity(version="2"))]
        assert list(history.polls.between("one:8000", 0, 10)) == expected
        assert list(history.polls.between("one:8000", 2.0, 3.0)) == [silent]
        assert list(history.polls.between("unknown", 0, 10)) == []


def test_a_sweep_and_its_levels_come_back(tmp_path: Path) -> None:
    sweep = SweepRecord(server="one:8000", started_at=1.0, chunk_seconds=0.1, corpus="c", objective="o", simulated=True)
    with History.writing(tmp_path / "history.db") as history:
        sweep_id = history.sweeps.start(sweep)
        level = LevelRecord(
            sweep_id=sweep_id, streams=4, started_at=1.0, duration_seconds=60, audit="valid", passed=True, reason="",
            achieved_concurrency=3.9, words=400,
        )  # fmt: skip
        history.sweeps.add_level(level, [StreamRecord(level_id=0, number=0), StreamRecord(level_id=0, number=1)])
        history.sweeps.finish(sweep_id, "done", 99.0)
        assert history.sweeps.levels(sweep_id) == [level]
        (stored,) = history.sweeps.every()
        assert (stored.id, stored.sweep.state, stored.sweep.finished_at) == (sweep_id, "done", 99.0)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"this is no database, it is a text of some length", "file is not a database"), (b"", None)],
)
def test_a_file_that_is_no_history_is_left_untouched(tmp_path: Path, content: bytes, sentence: str | None) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(content)
    if sentence is None:
        History.writing(path).close()  # an empty file, as `mktemp` makes, becomes a history
        return
    with pytest.raises(UserError, match=sentence) as caught:
        History.writing(path)
    assert caught.value.code == 2
    assert path.read_bytes() == content


def test_a_history_of_a_newer_version_is_refused_and_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with History.writing(path) as history:
        history.database.connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)",
            ["whisper_ops", "m999_future", "now"],
        )
    before = path.read_bytes()
    for opening in (History.writing, History.reading):
        with pytest.raises(UserError, match=r"newer whisper-ops.*m999_future"):
            opening(path)
    assert path.read_bytes() == before


def _made(path: Path) -> int:
    with History.writing(path) as history:
        return history.sweeps.start(
            SweepRecord(server="one:8000", started_at=1.0, chunk_seconds=0.1, corpus="c", objective="o")
        )


def test_processes_that_make_the_same_history_at_once_all_get_it(tmp_path: Path) -> None:
    with ProcessPoolExecutor(6, mp_context=get_context("spawn")) as pool:
        for number in range(5):
            path = tmp_path / f"{number}.db"
            assert sorted(pool.map(_made, [path] * 6)) == [1, 2, 3, 4, 5, 6]
            with History.writing(path) as history:
                assert list(history.database.rows("PRAGMA integrity_check")) == [{"integrity_check": "ok"}]


def test_a_step_that_another_process_took_meanwhile_is_not_taken_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.db"
    History.writing(path).close()
    with closing(sqlite3.connect(path)) as file:
        file.execute("ALTER TABLE server DROP COLUMN reached_by")
        file.execute("DELETE FROM _sqlite_migrations WHERE name = 'm011_reached_at'")
        file.commit()
    looked = Migrations.applied
    slow = sqlite3.connect(path, isolation_level=None)

    def applied(self: Migrations, connection: sqlite3.Connection) -> set[str]:
        """What there was when one looked; meanwhile another process brings the file up to date."""
        found = looked(self, connection)
        if connection is slow and not connection.in_transaction:
            History.writing(path).close()
        return found

    monkeypatch.setattr(Migrations, "applied", applied)
    migrations.apply(slow)
    slow.close()
    with History.writing(path) as history:
        assert list(history.database.rows("SELECT count(*) AS n FROM _sqlite_migrations")) == [
            {"n": len(migrations.names)}
        ]


def test_a_history_is_three_parts_over_one_file(tmp_path: Path) -> None:
    """What is asked of polls, of sweeps and of plans has a class each; `History` itself only opens and closes."""
    own = {name for name in vars(History) if not name.startswith("_")}
    assert own == {"writing", "reading", "close"}
    with History.writing(tmp_path / "history.db") as history:
        assert {name for name in vars(history) if not name.startswith("_")} == {
            "path", "database", "polls", "sweeps", "plans",
        }  # fmt: skip


def test_a_server_first_named_in_a_transaction_that_failed_is_named_again(tmp_path: Path) -> None:
    too_large = AlertRecord(rule="hot", severity="warning", server="one:8000", gpu_id=2**70, started_at=1, sentence="")
    with History.writing(tmp_path / "history.db") as history:
        with pytest.raises(OverflowError):
            history.polls.add([snapshot(1.0)], alerts=[too_large])
        history.polls.add([snapshot(2.0)])
        assert list(history.polls.between("one:8000", 0, 10)) == [snapshot(2.0)]
