"""What somebody who may write into the folder of a history can make of its files: nothing."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboard.history.history_writer import HistoryWriter
from whisper_ops.errors import UserError
from whisper_ops.history import History
from whisper_ops.history.writer_lock import WriterLock, holder_of

PRECIOUS = b"precious\n" * 100


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    file = tmp_path / "precious"
    file.write_bytes(PRECIOUS)
    return file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_lock_that_is_a_link_is_refused_and_leads_nowhere(
    tmp_path: Path, precious: Path, link: Callable[[Path, Path], None]
) -> None:
    history = tmp_path / "history.db"
    lock = tmp_path / "history.db.lock"
    link(precious, lock)
    with pytest.raises(UserError, match=r"history\.db\.lock is .* remove it"):
        HistoryWriter(history, print, command="attacked")
    assert holder_of(history) is None
    assert precious.read_bytes() == PRECIOUS
    assert lock.exists()


def test_a_lock_that_is_a_pipe_or_leads_to_nothing_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.db.lock")
    with pytest.raises(OSError, match="no plain file"):
        WriterLock(tmp_path / "pipe.db", "attacked").try_acquire()
    assert holder_of(tmp_path / "pipe.db") is None
    (tmp_path / "dangling.db.lock").symlink_to(tmp_path / "made by the lock")
    with pytest.raises(OSError, match="link to another file"):
        WriterLock(tmp_path / "dangling.db", "attacked").try_acquire()
    assert not (tmp_path / "made by the lock").exists()


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_files_beside_the_history_that_are_links_are_refused(tmp_path: Path, precious: Path, end: str) -> None:
    history = tmp_path / "history.db"
    (tmp_path / f"history.db{end}").symlink_to(precious)
    with pytest.raises(UserError, match=f"history.db{end} is a link"):
        History.writing(history)
    assert precious.read_bytes() == PRECIOUS


def test_only_its_owner_may_read_a_history_and_what_stands_beside_it(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        history = tmp_path / "history.db"
        lock = WriterLock(history, "test")
        assert lock.try_acquire() is None
        with History.writing(history) as opened:
            opened.database.connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
            modes = {path.name: oct(mode(path)) for path in tmp_path.iterdir()}
        lock.release()
    finally:
        os.umask(before)
    assert {"history.db", "history.db-wal", "history.db.lock"} <= set(modes)
    assert set(modes.values()) == {"0o600"}


def test_rights_that_somebody_gave_stay(tmp_path: Path) -> None:
    history = tmp_path / "history.db"
    History.writing(history).close()
    history.chmod(0o640)
    History.writing(history).close()
    assert mode(history) == 0o640
