"""Snapshots into the history, on a thread of its own: the event loop never waits for a disk."""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot

FLUSH_SECONDS = 1.0
_RETRY_SECONDS = 5.0
_WAITING_LIMIT = 20_000
"""Snapshots kept while the disk takes none: 100 servers for three minutes, some 100 MB."""

Say = Callable[[str], None]


class HistoryWriter:
    """Takes snapshots without blocking and commits them in batches, one transaction each `flush_seconds`.

    When the disk is full or the file became read-only it says so once, goes on taking snapshots (the oldest are dropped
    beyond a limit and counted), tries again, and says so once when it works again. `say` is called on its thread.
    """

    def __init__(self, path: Path, say: Say | None = None, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self.path = path
        self.written_total = 0
        self.dropped_total = 0
        self.note: str | None = None
        """Why nothing is being written at the moment, in one sentence."""
        self._say = say or _silently
        self._flush_seconds = flush_seconds
        self._waiting: deque[Snapshot] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._written = threading.Condition()
        self._history = History.writing(path)
        self._thread = threading.Thread(target=self._run, name="history writer", daemon=True)
        self._thread.start()

    def put(self, snapshot: Snapshot) -> None:
        """Take a snapshot; returns at once."""
        if len(self._waiting) >= _WAITING_LIMIT:
            self._waiting.popleft()
            self.dropped_total += 1
        self._waiting.append(snapshot)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything put so far is committed; False when it was not within `timeout` seconds."""
        self._wake.set()
        with self._written:
            return self._written.wait_for(lambda: not self._waiting or self.note is not None, timeout) and (
                not self._waiting
            )

    def close(self) -> None:
        """Commit what waits and close the file."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._flush_seconds if self.note is None else _RETRY_SECONDS)
            self._wake.clear()
            self._commit()
        self._commit()

    def _commit(self) -> None:
        batch = list(self._waiting)
        if not batch:
            return
        try:
            self._history.add_snapshots(batch)
        except sqlite3.Error as error:
            self._failed(f"the history {self.path} takes no rows: {error}; polling goes on without it")
            return
        self._succeeded(batch)

    def _succeeded(self, batch: list[Snapshot]) -> None:
        with self._written:
            # `put` may have dropped the oldest meanwhile; only what is still ours is taken off.
            committed = {id(snapshot) for snapshot in batch}
            while self._waiting and id(self._waiting[0]) in committed:
                self._waiting.popleft()
            self.written_total += len(batch)
            if self.note is not None:
                lost = f"; {self.dropped_total} polls were lost" if self.dropped_total else ""
                self._say(f"the history {self.path} takes rows again at {time.strftime('%H:%M:%S')}{lost}")
                self.note = None
            self._written.notify_all()

    def _failed(self, sentence: str) -> None:
        with self._written:
            if self.note is None:
                self._say(sentence)
            self.note = sentence
            self._written.notify_all()


def _silently(_sentence: str) -> None:
    """Who shows `note` needs no telling."""
