"""How far the making of a corpus is."""

from typing import Self

from whisper_ops import console
from whisper_ops.formatting import counted


class ClipProgress:
    """One line on stderr; without a terminal, a line a step."""

    def __init__(self, first: str = "") -> None:
        """`first` is said once, before anything is made."""
        self._first = first
        self._console = console.narration()
        self._status = self._console.status("starting")
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Say how far it is; the line appears with the first call."""
        if self._first:
            self._console.print(self._first, soft_wrap=not self._console.is_terminal)
            self._first = ""
        self._status.start()
        self._status.update(f"{what}: {done} of {counted(total, 'clip')}")
        if not self._console.is_terminal and what != self._last:
            self._console.print(f"{what}: {counted(total, 'clip')}")
        self._last = what
