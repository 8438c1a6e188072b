"""The history file of the one process that writes polls: locked, repaired where it is damaged, opened again."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dashboard.history.history_reader import inode
from whisper_ops.errors import UserError
from whisper_ops.history import History
from whisper_ops.history.repair import is_sqlite, repair
from whisper_ops.history.writer_lock import WriterLock


class WritableHistory:
    """Opens the history at `path` when no other process writes it, and knows whether its file is still there."""

    def __init__(self, path: Path, command: str, say: Callable[[str], None]) -> None:
        """`command` is what other processes are told about the holder of the lock."""
        self.path = path
        self.history: History | None = None
        """None while another process writes it, or until it is opened again."""
        self._say = say
        self._lock = WriterLock(path, command)
        self._inode: int | None = None

    def open(self) -> str | None:
        """Lock and open it; None, or the sentence that says which process writes it.

        Raises:
            UserError: the file is no history, is newer than this program, or cannot be written.
        """
        try:
            holder = self._lock.try_acquire()
        except OSError as error:
            # The folder takes no file; opening the history finds the better words for it.
            History.writing(self.path).close()
            raise UserError(f"cannot lock the history {self.path}: {error.strerror}") from error
        if holder is not None:
            return f"{self.path} is written by {holder}; this one only reads"
        try:
            self._reopen()
        except UserError as error:
            if not is_damage(error.__cause__) or not is_sqlite(self.path):
                self._lock.release()
                raise
            self.repair()
        if self.history is not None:
            # The polls of this process show which alerts still last. On a full disk this waits.
            with suppress(sqlite3.Error):
                self.history.polls.end_alerts()
        return None

    @property
    def replaced(self) -> bool:
        """Whether the open file was deleted or moved: what is written into it now is lost."""
        return self.history is not None and inode(self.path) != self._inode

    def repair(self) -> None:
        """Go on in a new file with everything that can be read of the damaged one, which is moved aside."""
        self._close_file()
        self._say(f"the history {self.path} is damaged; saving what can be read")
        self._say(f"{self.path}: {repair(self.path)}")
        self._reopen()

    def close(self) -> None:
        """Close the file and let another process write."""
        self._close_file()
        self._lock.release()

    def _reopen(self) -> None:
        self.history = History.writing(self.path)
        self._inode = inode(self.path)

    def _close_file(self) -> None:
        if self.history is not None:
            self.history.close()
            self.history = None


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is damaged."""
    return isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode == sqlite3.SQLITE_CORRUPT
