"""A history that is read for hours, while its file may come, go and be replaced. Imports no textual."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from whisper_ops.history import History

T = TypeVar("T")


def inode(path: Path) -> int | None:
    """Which file is at a path; None when there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


class HistoryReader:
    """Opens the history when it is first read, and again when another file lies in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._history: History | None = None
        self._inode: int | None = None
        self._lock = threading.Lock()

    def read(self, ask: Callable[[History], T]) -> T:
        """What `ask` finds; one caller at a time, and each blocks.

        Raises:
            UserError: there is no history, or none that can be read.
        """
        with self._lock:
            there = inode(self._path)
            if self._history is None or there != self._inode:
                self._let_go()
                self._history, self._inode = History.reading(self._path), there
            return ask(self._history)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._history is not None:
            self._history.close()
            self._history = None
