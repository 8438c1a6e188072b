"""Snapshots into the history, on a thread of its own: the event loop never waits for a disk."""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from dashboard.history.unstorable_rows import ROW_FAULTS, Item, UnstorableRows
from dashboard.history.writable_history import WritableHistory, is_damage
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.history import AlertRecord, EventRecord, History, ReachedRecord, Retention
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

Say = Callable[[str], None]


class HistoryWriter:
    """Takes snapshots without blocking and commits them in batches, one transaction each `flush_seconds`.

    One process writes polls. A second one's writer says in `note` which, drops what it is given, and takes over when
    the first ends. On a full or read-only disk it says so once, keeps rows (beyond a limit it drops and counts the
    oldest), retries, and says once when rows are written again. `say` is called on the writer's thread, except by
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
        self._unstorable = UnstorableRows()
        self._rollup_error: str | None = None
        self._changed = threading.Condition()
        self._prune_at = 0.0
        self._file = WritableHistory(path, command, self._say)
        self.note = self._file.open()
        self._thread = threading.Thread(target=self._run, name="history writer", daemon=True)
        self._thread.start()

    @property
    def writing(self) -> bool:
        """Whether this is the process that writes the polls."""
        return self._file.history is not None

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def set_aside_total(self) -> int:
        """Rows that the file cannot hold."""
        return self._unstorable.total

    @property
    def unwritten(self) -> int:
        """Rows that were taken and are not in the file, those set aside not counted."""
        return self.dropped_total + len(self._waiting)

    def put(self, item: Item) -> None:
        """Take a snapshot, an event, an alert or an address; returns at once."""
        if not self.writing:
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
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.wait(self._flush_seconds if self.note is None else _RETRY_SECONDS)
                self._wake.clear()
                self._work()
            self._work()
        except BaseException as error:  # noqa: BLE001  # nobody joins this thread before the end
            self.failure = f"the writer of {self.path} stopped ({type(error).__name__}: {error}); nothing is recorded"
            self._failed(self.failure)

    def _work(self) -> None:
        if self._file.replaced:
            self._file.close()
            self.note = f"the history {self.path} was deleted or moved; going on in a new one"
            self._say(self.note)
        history = self._file.history
        if history is None:
            self._take_over()
            return
        batch = list(self._waiting)
        try:
            if batch:
                self._store(history, batch)
                history.polls.add(events=self._unstorable.events)
                self._unstorable.events.clear()
        except sqlite3.Error as error:
            if is_damage(error):
                self._file.repair()
                return
            self._failed(f"the history {self.path} takes no rows ({error}); polling goes on without it")
            return
        try:
            self._roll_up_and_prune(history)
            self._rollup_error = None
        except sqlite3.Error as error:
            if is_damage(error):
                self._file.repair()
            elif self._rollup_error != str(error):
                # The batch is committed whatever becomes of its roll-up.
                self._rollup_error = str(error)
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
        except ROW_FAULTS as error:
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
        sentence = self._unstorable.set_aside(item, error)
        with self._changed:
            self._remove([item])
            self._changed.notify_all()
        if sentence is not None:
            self._say(sentence)

    def _roll_up_and_prune(self, history: History) -> None:
        now = time.time()
        history.polls.roll_up(now, _ROLLUPS_A_FLUSH)
        if time.monotonic() >= self._prune_at and not self._stopping:
            self._prune_at = time.monotonic() + _PRUNE_SECONDS
            history.polls.prune(now, self._retention)

    def _take_over(self) -> None:
        try:
            self.note = self._file.open()
        except UserError as error:
            self.note = str(error)
        if self.writing:
            self._say(f"the history {self.path} is free now; this process writes it from here on")

    def _remove(self, batch: list[Item]) -> None:
        # `put` may have dropped the oldest meanwhile; only what is still there is removed.
        done = {id(item) for item in batch}
        while self._waiting and id(self._waiting[0]) in done:
            self._waiting.popleft()

    def _succeeded(self, batch: list[Item]) -> None:
        with self._changed:
            self._remove(batch)
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


def _silently(_sentence: str) -> None:
    """The dashboard shows `note` instead."""
