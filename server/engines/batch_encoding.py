"""How a batch is encoded: its rows together, or one after the other. Which is faster is learnt as batches come.

On a CPU one row after the other stays in the cache: tiny.en on one core takes 30 ms a row of 6 s either way up to
twelve rows, and of 10 s, from six rows on, 57 ms apart and 77 to 98 ms together. On a GPU rows go together.

Rows apart also need no common length: each is encoded with the context that its own speech needs. The decoder does ask
for one length, and has no mask; a shorter row is filled up with what its encoder made of the silence at its end.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.measured_choice import MeasuredChoice

SILENT_FRAMES = 40
"""Encoder frames of 20 ms at the end of every row that hold silence alone: a context leaves 1 s after the speech."""


class Encoding:
    """The choice of one engine. Times are seconds."""

    def __init__(self) -> None:
        self._choice = MeasuredChoice()

    def apart(self, rows: int) -> bool:
        """Whether to encode a batch's rows one after the other."""
        return rows > 1 and self._choice.other()

    def encoded(self, rows: int, context_s: float, seconds: float, *, apart: bool) -> None:
        """A batch took so long."""
        if rows > 1:
            self._choice.measured(seconds / (rows * context_s), other=apart)


def joined(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Rows [1, frames, D] of several lengths as one batch [B, most frames, D]."""
    frames = max(row.shape[1] for row in rows)
    return np.concatenate([np.take(row, _filled(row.shape[1], frames), axis=1) for row in rows])


def _filled(own: int, frames: int) -> NDArray[np.intp]:
    """Which frame stands at each place: a row's own ones, and then those of its silence again and again."""
    again = own - min(own, SILENT_FRAMES) + np.arange(frames - own) % min(own, SILENT_FRAMES)
    return np.concatenate((np.arange(own), again))
