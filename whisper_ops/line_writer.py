"""Lines to a file descriptor from a thread of their own: a reader that stops reading costs lines, and nothing else.

A pipe holds 64 KiB. When nobody reads on, the next write blocks for ever; on an event loop, every stream with it.
"""

import os
import queue
import threading
from collections.abc import Callable

LIMIT = 2000
"""Lines that may wait; more are dropped and counted."""
FLUSH_SECONDS = 1.0
"""How long the last lines may take when the process ends."""
_END = None


class LineWriter:
    """Writes lines in order. `lost` words the line that stands for those that were dropped."""

    def __init__(self, descriptor: int, lost: Callable[[int], str], limit: int = LIMIT) -> None:
        self._descriptor, self._lost = descriptor, lost
        self._lines: queue.Queue[str | None] = queue.Queue(limit)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Take a line, without its end; returns at once."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Write what waits, at most so long; nothing is taken after that."""
        try:
            self._lines.put(_END, timeout=seconds)
        except queue.Full:
            return  # nobody reads; the thread ends with the process
        self._thread.join(seconds)

    def _run(self) -> None:
        while (line := self._lines.get()) is not _END:
            dropped, self._dropped = self._dropped, 0
            if not self._write(line) or (dropped and not self._write(self._lost(dropped))):
                return

    def _write(self, line: str) -> bool:
        """Whether there is still something to write to."""
        # Not through sys.stderr: its lock would hold up every other print, and the interpreter's exit.
        left = f"{line}\n".encode("utf-8", "backslashreplace")
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except OSError:
                return False
        return True
