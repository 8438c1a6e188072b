"""Snapshots into the history, on a thread of its own: the event loop never waits for a disk."""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from dashboard.history.history_reader import inode
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.history import AlertRecord, EventRecord, History, ReachedRecord, Retention
from whisper_ops.history.repair import is_sqlite, repair
from whisper_ops.history.writer_lock import WriterLock
from whisper_ops.snapshot import Snapshot

FLUSH_SECONDS = 1.0
WRITER_STOPPED = "history writer stopped"
"""The alert that a writer whose thread ended is."""
_RETRY_SECONDS = 5.0
_PRUNE_SECONDS = 60.0
_ROLLUPS_A_FLUSH = 20
"""100 servers' minutes are rolled up in five flushes, so that no flush takes long."""
_WAITING_LIMIT = 20_000
"""Rows kept while the disk takes none: 100 servers for three minutes, some 100 MB."""

_ROW_FAULTS = (
    *(OverflowError, ValueError, TypeError),
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
)
"""What one row can be wrong in, where the file takes every other: a number too large, a text that is no Unicode."""

Say = Callable[[str], None]
Item = Snapshot | EventRecord | AlertRecord | ReachedRecord


class HistoryWriter:
    """Takes snapshots without blocking and commits them in batches, one transaction each `flush_seconds`.

    One process writes polls; a second one's writer says in `note` who does, drops what it is given, and takes over when
    the first is gone. When the disk is full or became read-only it says so once, goes on taking snapshots (the oldest
    are dropped beyond a limit and counted), tries again, and says so once when it works again. A row that the file
    cannot hold is set aside, said and counted, and all others go on. `say` is called on the writer's thread, except by
    `__init__`.

    Raises:
        UserError: the file is no history, is newer than this program, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        say: Say | None = None,
        *,
        command: str = "whisper-ops",
        flush_seconds: float = FLUSH_SECONDS,
        retention: Retention | None = None,
    ) -> None:
        self.path = path
        self.written_total = 0
        self.dropped_total = 0
        self.set_aside_total = 0
        self.failure: str | None = None
        """Why its thread ended though nobody closed it, in one sentence: nothing is written any more."""
        self.note: str | None = None
        """Why nothing is being written at the moment, in one sentence."""
        self._say = say or _silently
        self._flush_seconds = flush_seconds
        self._retention = retention or Retention()
        self._waiting: deque[Item] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._said_aside: set[tuple[str, str]] = set()
        self._aside: list[EventRecord] = []
        self._house_trouble: str | None = None
        self._changed = threading.Condition()
        self._prune_at = 0.0
        self._lock = WriterLock(path, command)
        self._history: History | None = None
        self._inode: int | None = None
        self._open()
        self._thread = threading.Thread(target=self._run, name="history writer", daemon=True)
        self._thread.start()

    @property
    def writing(self) -> bool:
        """Whether this is the process that writes the polls."""
        return self._history is not None

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def unwritten(self) -> int:
        """Rows that were taken and are not in the file, those set aside not counted."""
        return self.dropped_total + len(self._waiting)

    def put(self, item: Item) -> None:
        """Take a snapshot, an event, an alert or an address; returns at once."""
        if self._history is None:
            return
        if self.failure is not None:
            self.dropped_total += 1
            return
        if len(self._waiting) >= _WAITING_LIMIT:
            self._waiting.popleft()
            self.dropped_total += 1
        self._waiting.append(item)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything put so far is committed; False when it was not within `timeout` seconds."""
        self._wake.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self.note is not None, timeout)
            return not self._waiting

    def close(self) -> None:
        """Commit what waits, close the file and let another process write."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        if self._history is not None:
            self._history.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        try:
            holder = self._lock.try_acquire()
        except OSError as error:
            # The folder takes no file; opening the history finds the better words for it.
            History.writing(self.path).close()
            raise UserError(f"cannot lock the history {self.path}: {error.strerror}") from error
        if holder is not None:
            self.note = f"{self.path} is written by {holder}; this one only reads"
            return
        try:
            self._history = History.writing(self.path)
        except UserError as error:
            if not _is_damage(error.__cause__) or not is_sqlite(self.path):
                self._lock.release()
                raise
            self._mend()
        self._inode = inode(self.path)
        if self._history is not None:
            # Who watches from here on begins anew: what still holds is told again. On a full disk that waits.
            with suppress(sqlite3.Error):
                self._history.polls.end_alerts()
        self.note = None

    def _mend(self) -> None:
        """Go on in a new file with everything that can be read of the damaged one, which is moved aside."""
        if self._history is not None:
            self._history.close()
            self._history = None
        self._say(f"the history {self.path} is damaged; saving what can be read")
        self._say(f"{self.path}: {repair(self.path)}")
        self._history = History.writing(self.path)
        self._inode = inode(self.path)

    def _replace(self) -> None:
        """The file was deleted or moved: what is written into it now, nobody will ever find."""
        assert self._history is not None
        self._history.close()
        self._history = None
        self._lock.release()
        self.note = f"the history {self.path} was deleted or moved; going on in a new one"
        self._say(self.note)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.wait(self._flush_seconds if self.note is None else _RETRY_SECONDS)
                self._wake.clear()
                self._work()
            self._work()
        except BaseException as error:  # noqa: BLE001  # nobody joins this thread before the end: its last words are here
            self.failure = f"the writer of {self.path} stopped ({type(error).__name__}: {error}); nothing is recorded"
            self._failed(self.failure)

    def _work(self) -> None:
        if self._history is not None and inode(self.path) != self._inode:
            self._replace()
        if self._history is None:
            self._take_over()
            return
        batch = list(self._waiting)
        try:
            if batch:
                self._store(self._history, batch)
                self._history.polls.add(events=self._aside)
                self._aside.clear()
        except sqlite3.Error as error:
            if _is_damage(error):
                self._mend()
                return
            self._failed(f"the history {self.path} takes no rows ({error}); polling goes on without it")
            return
        try:
            self._keep_house(self._history)
            self._house_trouble = None
        except sqlite3.Error as error:
            if _is_damage(error):
                self._mend()
            elif self._house_trouble != str(error):
                # Rows are one thing, their roll-ups another: what was written stays written.
                self._house_trouble = str(error)
                self._say(f"the history {self.path} cannot be rolled up ({error}); polls are still written")

    def _store(self, history: History, batch: list[Item]) -> None:
        """Commit a batch; where one of its rows is at fault, in halves, until that one is alone."""
        try:
            history.polls.add(
                [item for item in batch if isinstance(item, Snapshot)],
                [item for item in batch if isinstance(item, EventRecord)],
                [item for item in batch if isinstance(item, AlertRecord)],
                [item for item in batch if isinstance(item, ReachedRecord)],
            )
        except _ROW_FAULTS as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._store(history, batch[:middle])
                self._store(history, batch[middle:])
                return
            history.polls.add()  # a file that takes nothing at all is not this row's fault: that is raised
            self._set_aside(batch[0], error)
            return
        self._succeeded(batch)

    def _set_aside(self, item: Item, error: Exception) -> None:
        with self._changed:
            self._take_off([item])
            self.set_aside_total += 1
            self._changed.notify_all()
        whose = _plain(item.server or "")
        why = _plain(f"{type(error).__name__}: {error}")
        if (whose, why) in self._said_aside or len(self._said_aside) >= _ASIDE_SAID:
            return
        self._said_aside.add((whose, why))
        words = f"{_NAMES[type(item)]} of {whose} cannot be stored ({why}); it is set aside, and so are others like it"
        self._say(words)
        self._aside.append(EventRecord(at=time.time(), server=whose, kind="set_aside", detail=words))

    def _keep_house(self, history: History) -> None:
        now = time.time()
        history.polls.roll_up(now, _ROLLUPS_A_FLUSH)
        if time.monotonic() >= self._prune_at and not self._stopping:
            self._prune_at = time.monotonic() + _PRUNE_SECONDS
            history.polls.prune(now, self._retention)

    def _take_over(self) -> None:
        try:
            self._open()
        except UserError as error:
            self.note = str(error)
        if self.writing:
            self._say(f"the history {self.path} is free now; this process writes it from here on")

    def _take_off(self, batch: list[Item]) -> None:
        # `put` may have dropped the oldest meanwhile; only what is still there is taken off.
        done = {id(item) for item in batch}
        while self._waiting and id(self._waiting[0]) in done:
            self._waiting.popleft()

    def _succeeded(self, batch: list[Item]) -> None:
        with self._changed:
            self._take_off(batch)
            self.written_total += len(batch)
            if self.note is not None:
                lost = f"; {counted(self.dropped_total, 'poll')} lost" if self.dropped_total else ""
                self._say(f"the history {self.path} takes rows again{lost}")
                self.note = None
            self._changed.notify_all()

    def _failed(self, sentence: str) -> None:
        with self._changed:
            if self.note is None:
                self._say(sentence)
            self.note = sentence
            self._changed.notify_all()


_NAMES: dict[type[Item], str] = {
    Snapshot: "a poll",
    EventRecord: "an event",
    AlertRecord: "an alert",
    ReachedRecord: "the address",
}
_ASIDE_SAID = 100
"""Reasons that are said; a server that sends ever new ones is not listened to for ever."""


def _plain(text: str) -> str:
    """Storable whatever it is: what is no Unicode is escaped, and what is endless is cut."""
    return text[:300].encode("utf-8", "backslashreplace").decode()


def _is_damage(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode == sqlite3.SQLITE_CORRUPT


def _silently(_sentence: str) -> None:
    """Who shows `note` needs no telling."""
