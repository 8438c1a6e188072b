"""How a batch is encoded: its rows together, or one after the other. Which is faster is learnt as batches come.

On a CPU one row after the other stays in the cache: tiny.en on one core takes 30 ms a row of 6 s either way up to
twelve rows, and of 10 s, from six rows on, 57 ms apart and 77 to 98 ms together. On a GPU rows go together.
"""

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
