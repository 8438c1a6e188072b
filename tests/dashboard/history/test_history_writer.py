"""Polls reach the file in batches; a disk that takes none is said once and polling goes on."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dashboard.history import history_writer as writing
from dashboard.history.history_notes import HistoryNotes
from dashboard.history.history_writer import HistoryWriter
from whisper_ops.errors import UserError
from whisper_ops.history import AlertRecord, EventRecord, History, SweepRecord
from whisper_ops.snapshot import Snapshot

NOW = time.time() // 3600 * 3600 - 7200


def poll(at: float) -> Snapshot:
    """A poll of two hours ago: new enough not to be past its keeping."""
    return Snapshot(server="one", at=NOW + at)


def polls(history: History) -> list[float]:
    return [snapshot.at - NOW for snapshot in history.polls.between("one", 0, 1e12)]


def connection(writer: HistoryWriter) -> sqlite3.Connection:
    assert writer._file.history is not None
    return writer._file.history.database.connection


def wait(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_polls_are_in_the_file_when_flushed_and_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with HistoryWriter(path, flush_seconds=60) as writer:
        for at in range(100):
            writer.put(poll(float(at)))
        assert writer.flush()
        with History.reading(path) as history:
            assert len(polls(history)) == 100
        writer.put(poll(100.0))
    with History.reading(path) as history:
        assert len(polls(history)) == 101
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
    monkeypatch.setattr("dashboard.history.history_writer._RETRY_SECONDS", 0.02)
    path = tmp_path / "history.db"
    said: list[str] = []
    with HistoryWriter(path, said.append, flush_seconds=0.01) as writer:
        # SQLite's own limit gives the very error that a full disk does.
        (pages,) = connection(writer).execute("PRAGMA page_count").fetchone()
        connection(writer).execute(f"PRAGMA max_page_count = {pages}")
        for at in range(2000):
            writer.put(poll(float(at)))
        assert not writer.flush()
        assert writer.note is not None
        assert "full" in writer.note
        writer.put(poll(5000.0))
        connection(writer).execute("PRAGMA max_page_count = 100000")
        _wait(lambda: writer.note is None)
    assert len(said) == 2
    assert "polling goes on without it" in said[0]
    assert "takes rows again" in said[1]
    with History.reading(path) as history:
        assert len(polls(history)) == 2001


def test_what_waits_is_bounded_and_what_was_dropped_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.history.history_writer._WAITING_LIMIT", 10)
    path = tmp_path / "history.db"
    with HistoryWriter(path, flush_seconds=60) as writer:
        for at in range(25):
            writer.put(poll(float(at)))
        assert writer.dropped_total == 15
    with History.reading(path) as history:
        assert polls(history) == [float(at) for at in range(15, 25)]


def test_a_file_that_cannot_be_written_is_refused_before_polling_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        HistoryWriter(tmp_path / "missing" / "history.db")


def test_the_second_writer_is_told_who_writes_and_takes_over_when_that_one_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.history.history_writer._RETRY_SECONDS", 0.02)
    path = tmp_path / "history.db"
    said: list[str] = []
    first = HistoryWriter(path, command="whisper-ops record")
    with HistoryWriter(path, said.append, command="whisper-ops dash") as second:
        assert not second.writing
        assert second.note is not None
        assert f"is written by whisper-ops record (process {os.getpid()}, since" in second.note
        second.put(poll(1.0))
        with History.writing(path) as sweep:  # sweeps are not locked out
            sweep.sweeps.start(SweepRecord(server="one", started_at=1.0, chunk_seconds=0.1, corpus="c", objective="o"))
        first.close()
        _wait(lambda: second.note is None)
        second.put(poll(2.0))
        assert second.flush()
    assert len(said) == 1
    assert "this process writes it from here on" in said[0]
    with History.reading(path) as history:
        assert polls(history) == [2.0]
    assert not list(tmp_path.glob("*.lock"))


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    code = (
        "import sys, pathlib; from whisper_ops.history.writer_lock import WriterLock; "
        "WriterLock(pathlib.Path(sys.argv[1]), 'whisper-ops record').try_acquire(); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        with HistoryWriter(path) as writer:
            assert writer.note is not None
            assert f"process {child.pid}" in writer.note
        child.kill()
    with HistoryWriter(path) as writer:
        assert writer.writing


def test_a_file_that_is_no_history_leaves_no_lock_behind(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="not a database"):
        HistoryWriter(path)
    assert [file.name for file in tmp_path.iterdir()] == ["history.db"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_really_full_and_really_read_only(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.history.history_writer._RETRY_SECONDS", 0.02)
    path, ballast = small_disk / "history.db", small_disk / "ballast"
    said: list[str] = []
    with HistoryWriter(path, said.append, flush_seconds=0.01) as writer:
        writer.put(poll(0.0))
        assert writer.flush()
        with ballast.open("wb") as file, suppress(OSError):
            file.write(bytes(4_000_000))
        for at in range(1, 1000):
            writer.put(poll(float(at)))
        _wait(lambda: writer.note is not None)
        # Rows or their roll-ups may meet the full disk first; each is said, and once.
        (rows,) = (sentence for sentence in said if "takes no rows" in sentence)
        assert "disk is full" in rows or "disk I/O error" in rows
        assert len(said) == len(set(said)) <= 2
        ballast.unlink()
        _wait(lambda: writer.note is None)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with History.reading(path) as history:
        assert len(polls(history)) == 1000
    with pytest.raises(UserError, match=r"cannot (write|lock) the history"):
        HistoryWriter(path)


def test_a_file_that_became_read_only_is_said_once_and_polling_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.history.history_writer._RETRY_SECONDS", 0.02)
    said: list[str] = []
    with HistoryWriter(tmp_path / "history.db", said.append, flush_seconds=0.01) as writer:
        connection(writer).execute("PRAGMA query_only = ON")
        writer.put(poll(1.0))
        assert not writer.flush()
        for at in range(2, 50):
            writer.put(poll(float(at)))
        assert "readonly" in str(writer.note)
        connection(writer).execute("PRAGMA query_only = OFF")
        _wait(lambda: writer.note is None)
        assert writer.flush()
    assert writer.written_total == 49
    assert len(said) == 2


def test_minutes_are_rolled_up_while_polls_are_written(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with HistoryWriter(path, flush_seconds=0.01) as writer:
        writer.put(poll(0.0))
        writer.put(EventRecord(at=NOW, kind="test", detail="d"))
        alert = AlertRecord(rule="r", severity="warning", server="one", started_at=NOW, sentence="s")
        writer.put(alert)
        assert writer.flush()
        ended = AlertRecord(rule="r", severity="warning", server="one", started_at=NOW, ended_at=NOW + 10, sentence="s")
        writer.put(ended)
        assert writer.flush()
        with History.reading(path) as history:
            _wait(lambda: list(history.database.rows("SELECT polls FROM server_hour")) == [{"polls": 1}])
            assert [event.kind for event in history.polls.events(0, 1e12)] == ["test"]
            assert history.polls.alerts(0, 1e12) == [ended]


def _wait(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("waited in vain")


def test_alerts_that_a_killed_writer_left_open_end_with_the_last_poll_of_their_server(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with HistoryWriter(path) as writer:
        writer.put(poll(0.0))
        writer.put(poll(30.0))
        for server, started_at in (("one", NOW + 5), ("never polled", NOW + 6)):
            writer.put(AlertRecord(rule="r", severity="warning", server=server, started_at=started_at, sentence="s"))
    HistoryWriter(path).close()
    with History.reading(path) as history:
        assert [alert.ended_at for alert in history.polls.alerts(0, 1e12)] == [NOW + 30, NOW + 6]


def test_a_damaged_history_is_moved_aside_at_the_start_and_polls_go_on(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    said: list[str] = []
    with HistoryWriter(path) as writer:
        for at in range(5000):
            writer.put(poll(float(at)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 8192 * 4096
    content[middle : middle + 4 * 4096] = b"\xa5" * 4096 * 4
    path.write_bytes(content)
    with HistoryWriter(path, said.append, flush_seconds=0.01) as writer:
        # A late poll of a time that lay on a bad page finds the damage.
        for at in range(0, 5000, 10):
            writer.put(poll(at + 0.5))
        _wait(lambda: writer.flush() and writer.note is None)
        assert writer.writing
    assert any("is damaged; saving what can be read" in sentence for sentence in said)
    assert any("rows were saved" in sentence for sentence in said)
    (aside,) = tmp_path.glob("*.damaged-*[0-9]")
    assert aside.stat().st_size == len(content)
    with History.reading(path) as history:
        found = polls(history)
    assert len([at for at in found if at % 1 == 0.5]) == 500
    assert len([at for at in found if at % 1 == 0]) > 4000


def test_a_history_that_is_deleted_while_it_is_open_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    said: list[str] = []
    memory = HistoryNotes(path)
    with HistoryWriter(path, said.append, flush_seconds=0.05) as writer:
        writer.put(EventRecord(at=NOW - 20, kind="first", detail="in the file that is deleted"))
        assert writer.flush()
        assert memory.read(NOW) is not None
        for file in tmp_path.glob("history.db*"):
            file.unlink()
        wait(lambda: len(said) > 1)
        writer.put(EventRecord(at=NOW - 10, kind="second", detail="in the new one"))
        assert writer.flush()
        remembered = memory.read(NOW)
        assert remembered is not None
        assert [event.kind for event in remembered.events] == ["second"]
        assert "deleted or moved" in said[0]
    with History.reading(path) as history:
        assert [event.kind for event in history.polls.events(0, NOW)] == ["second"]
    memory.close()


def test_a_folder_that_is_gone_is_said_and_polling_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_RETRY_SECONDS", 0.05)
    folder = tmp_path / "data"
    folder.mkdir()
    with HistoryWriter(folder / "history.db", flush_seconds=0.05) as writer:
        shutil.rmtree(folder)
        wait(lambda: writer.note is not None and "there is no folder" in writer.note)
        writer.put(EventRecord(at=NOW, kind="lost", detail="nowhere to put it"))
        folder.mkdir()
        wait(lambda: writer.writing)
