"""How a batch is encoded: its rows together, or one after the other. Which is faster is learnt as batches come.

On a CPU one row after the other stays in the cache: tiny.en on one core takes 30 ms a row of 6 s either way up to
twelve rows, and of 10 s, from six rows on, 57 ms apart and 77 to 98 ms together. On a GPU rows go together.

Rows apart also need no common length: each is encoded with the context that its own speech needs. The decoder does ask
for one length, and has no mask; a shorter row is filled up with what its encoder made of the silence at its end.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SILENT_FRAMES = 40
"""Encoder frames of 20 ms at the end of every row that hold silence alone: a context leaves 1 s after the speech."""
FORGET = 0.9
"""What a batch counts for after the next one of its kind."""
_ENOUGH = 3
"""Batches of each kind before either is preferred."""
_AGAIN = 64
"""So many batches later the slower way is tried again: another load shares the cache otherwise."""


class Encoding:
    """The choice of one engine. Times are seconds."""

    def __init__(self) -> None:
        self._took = {True: 0.0, False: 0.0}
        self._tried = {True: 0, False: 0}
        self._batches = 0

    def apart(self, rows: int) -> bool:
        """Whether to encode a batch's rows one after the other."""
        if rows < 2:
            return False
        fewest = min(self._tried, key=self._tried.__getitem__)
        if self._tried[fewest] < _ENOUGH or self._batches % _AGAIN == _AGAIN - 1:
            return fewest
        return self._took[True] <= self._took[False]

    def encoded(self, rows: int, context_s: float, seconds: float, *, apart: bool) -> None:
        """A batch took so long."""
        if rows < 2:
            return
        each = seconds / (rows * context_s)
        before, self._tried[apart] = self._tried[apart], self._tried[apart] + 1
        self._took[apart] = FORGET * self._took[apart] + (1 - FORGET) * each if before else each
        self._batches += 1


def joined(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Rows [1, frames, D] of several lengths as one batch [B, most frames, D]."""
    frames = max(row.shape[1] for row in rows)
    return np.concatenate([np.take(row, _filled(row.shape[1], frames), axis=1) for row in rows])


def _filled(own: int, frames: int) -> NDArray[np.intp]:
    """Which frame stands at each place: a row's own ones, and then those of its silence again and again."""
    again = own - min(own, SILENT_FRAMES) + np.arange(frames - own) % min(own, SILENT_FRAMES)
    return np.concatenate((np.arange(own), again))
