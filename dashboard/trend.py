"""The last minutes of a figure, in bins aligned to the clock.

Aligned bins change only at their edges: a sparkline is then repainted twice a minute, not at every poll.
"""

from collections import deque
from collections.abc import Iterable

from whisper_ops.counter_delta import counter_increase

BINS = 10
BIN_SECONDS = 30.0


class Trend:
    """The worst value of each half minute over the last five minutes."""

    __slots__ = ("_bins", "_shown", "_shown_at")

    def __init__(self) -> None:
        self._bins: deque[tuple[int, float | None]] = deque(maxlen=BINS)
        self._shown: tuple[float | None, ...] = ()
        self._shown_at: int | None = None

    def add(self, at: float, value: float | None) -> None:
        """Add a reading; None marks a poll that brought none."""
        number = int(at // BIN_SECONDS)
        if self._bins and self._bins[-1][0] == number:
            before = self._bins[-1][1]
            if value is None or (before is not None and before >= value):
                return
            self._bins[-1] = (number, value)
        elif not self._bins or number > self._bins[-1][0]:
            self._bins.append((number, value))
        self._shown_at = None

    def prepend(self, earlier: Iterable[tuple[float, float | None]]) -> None:
        """Take readings of the time before those that were added, in their order."""
        before = Trend()
        for at, value in earlier:
            before.add(at, value)
        held = dict(before._bins)
        for number, value in self._bins:
            worst = [known for known in (value, held.get(number)) if known is not None]
            held[number] = max(worst, default=None)
        self._bins = deque(sorted(held.items()), maxlen=BINS)
        self._shown_at = None

    def values(self, now: float) -> tuple[float | None, ...]:
        """The bins up to `now`, oldest first; None where nothing was measured."""
        last = int(now // BIN_SECONDS)
        if self._shown_at != last:
            # Most polls change no bin, and eight hundred GPUs are asked twice a second: the answer is kept.
            held = dict(self._bins)
            self._shown = tuple(held.get(number) for number in range(last - BINS + 1, last + 1))
            self._shown_at = last
        return self._shown


class Rate:
    """How much a counter rose in the last minute; a restart, which begins near 0 again, is no fall."""

    __slots__ = ("_risen", "_total", "_window")

    def __init__(self, window_seconds: float = 60.0) -> None:
        self._window = window_seconds
        self._total: int | None = None
        self._risen: deque[tuple[float, float]] = deque()

    def add(self, at: float, total: int | None) -> None:
        """Add a reading of the counter; None is a poll that brought none."""
        if total is None:
            return
        rise = None if self._total is None else counter_increase(self._total, total)
        if rise:
            self._risen.append((at, rise))
        self._total = total

    def per_minute(self, now: float) -> float | None:
        """The rise in the last minute, a minute; None before any reading."""
        while self._risen and self._risen[0][0] <= now - self._window:
            self._risen.popleft()
        if self._total is None:
            return None
        return sum(rise for _, rise in self._risen) * 60.0 / self._window
