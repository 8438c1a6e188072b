"""Polls reach the file in batches; a disk that takes none is said once and polling goes on."""

import sqlite3
import threading
from pathlib import Path

import pytest

from dashboard.writer import HistoryWriter
from whisper_ops.errors import UserError
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot


def poll(at: float) -> Snapshot:
    return Snapshot(server="one", at=at)


def test_polls_are_in_the_file_when_flushed_and_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with HistoryWriter(path, flush_seconds=60) as writer:
        for at in range(100):
            writer.put(poll(float(at)))
        assert writer.flush()
        with History.reading(path) as history:
            assert len(list(history.snapshots("one", 0, 1000))) == 100
        writer.put(poll(100.0))
    with History.reading(path) as history:
        assert len(list(history.snapshots("one", 0, 1000))) == 101
    assert writer.written_total == 101
    assert writer.dropped_total == 0


def test_putting_never_waits_for_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with HistoryWriter(path, flush_seconds=0.01) as writer:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        for at in range(50):
            writer.put(poll(float(at)))  # returns although nobody can write now
        assert writer.written_total == 0
        blocker.execute("COMMIT")
        blocker.close()
        assert writer.flush()


def test_a_full_disk_is_said_once_and_nothing_is_lost_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.writer._RETRY_SECONDS", 0.02)
    path = tmp_path / "history.db"
    said: list[str] = []
    with HistoryWriter(path, said.append, flush_seconds=0.01) as writer:
        # SQLite's own limit gives the very error that a full disk does.
        (pages,) = writer._history._db.execute("PRAGMA page_count").fetchone()
        writer._history._db.execute(f"PRAGMA max_page_count = {pages}")
        for at in range(2000):
            writer.put(poll(float(at)))
        assert not writer.flush()
        assert writer.note is not None
        assert "full" in writer.note
        writer.put(poll(5000.0))
        writer._history._db.execute("PRAGMA max_page_count = 100000")
        _wait(lambda: writer.note is None)
    assert len(said) == 2
    assert "polling goes on without it" in said[0]
    assert "takes rows again" in said[1]
    with History.reading(path) as history:
        assert len(list(history.snapshots("one", 0, 1e6))) == 2001


def test_what_waits_is_bounded_and_what_was_dropped_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.writer._WAITING_LIMIT", 10)
    path = tmp_path / "history.db"
    with HistoryWriter(path, flush_seconds=60) as writer:
        for at in range(25):
            writer.put(poll(float(at)))
        assert writer.dropped_total == 15
    with History.reading(path) as history:
        assert [snapshot.at for snapshot in history.snapshots("one", 0, 100)] == [float(at) for at in range(15, 25)]


def test_a_file_that_cannot_be_written_is_refused_before_polling_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        HistoryWriter(tmp_path / "missing" / "history.db")


def _wait(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("waited in vain")
