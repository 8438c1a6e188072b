"""Latency histograms with fixed bounds: counts add up over time, streams and servers, where percentiles do not."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

LATENCY_BOUNDS_SECONDS: tuple[float, ...] = (
    *(
        0.05,
        0.1,
        0.15,
        0.2,
        0.25,
        0.3,
        0.35,
        0.4,
        0.45,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
        1.0,
        1.2,
        1.4,
        1.6,
        1.8,
        2.0,
    ),
    *(2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0),
)
"""Upper bounds in seconds, each bucket including its own; one more bucket above the last holds the rest.

They are finest around the objectives people set (0.5 to 2 s). History files store counts in this order, so the bounds
never change without a migration.
"""

BUCKETS = len(LATENCY_BOUNDS_SECONDS) + 1


class LatencyHistogram:
    """Counts of observed latencies in the buckets of `LATENCY_BOUNDS_SECONDS`, from the start of the process."""

    __slots__ = ("counts", "sum_seconds")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.counts = [0] * BUCKETS
        self.sum_seconds = 0.0
        for value in values:
            self.observe(value)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds

    @property
    def total(self) -> int:
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """The latency in seconds under which the share `q` (0 to 1) of the observations lies; None without any."""
        return quantile(self.counts, q)


def quantile(counts: Sequence[int], q: float) -> float | None:
    """The quantile `q` (0 to 1) of bucket `counts`, in seconds, linear within its bucket; None when all are zero.

    The error is at most the width of the bucket it falls in. Above the last bound that bound is the answer: the truth
    is "at least this".
    """
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
    cumulated = list(accumulate(counts))
    if not cumulated or cumulated[-1] == 0:
        return None
    rank = q * cumulated[-1]
    # The first bucket that reaches the rank and holds something.
    bucket = next(i for i, c in enumerate(cumulated) if c >= rank and counts[i])
    if bucket == len(LATENCY_BOUNDS_SECONDS):
        return LATENCY_BOUNDS_SECONDS[-1]
    low = LATENCY_BOUNDS_SECONDS[bucket - 1] if bucket else 0.0
    before = cumulated[bucket] - counts[bucket]
    share = (rank - before) / counts[bucket]
    return low + (LATENCY_BOUNDS_SECONDS[bucket] - low) * share


def difference(later: Sequence[int], earlier: Sequence[int] | None) -> list[int]:
    """What was counted between two readings of a growing histogram.

    A counter that went down was restarted in between: then everything in the later reading is new.
    """
    if earlier is None or len(earlier) != len(later) or any(b < a for a, b in zip(earlier, later, strict=True)):
        return list(later)
    return [b - a for a, b in zip(earlier, later, strict=True)]
