"""The search in a given time: as tight a bracket as it allows, from levels that are each chosen by those before.

One stream shows how much of the server it takes; that says where the limit may lie, and the next level stands there:
at twice the load at least, and where nothing says more, at four times. Between a level that passed and one that failed
the next one is in the middle, by ratio, until the time is over or the bracket is tight. Levels are short, so what it
finds is provisional; `search` takes the time to be sure.
"""

import math
from collections.abc import Mapping

import msgspec

_FARTHEST = 8
"""A single stream's share of a server is a rough guess, and further than this it is none."""
_FARTHEST_LATER = 4
_TRIES = 2
"""A level that twice gave no answer gives none."""
NARROW = 2.0
"""Ends no further apart than this, by ratio, are an answer; tighter ones are a better one."""


class QuickSearch(msgspec.Struct, frozen=True, kw_only=True):
    """What short levels said so far. `told` returns a new search; nothing is changed in place."""

    tolerance: float = 0.15
    """Width of the bracket as a share of its lower end, at which it is tight."""
    most_streams: int = 10_000
    answers: Mapping[int, bool] = {}
    """A level that failed once did not pass."""
    unusable: Mapping[int, int] = {}
    """How often a level gave no answer."""
    busy: Mapping[int, float] = {}
    """The share of the server that a level took, 0 to 1, where it is known."""

    @property
    def best_passing(self) -> int | None:
        """The largest level that passed below every one that failed; None: none did."""
        high = self.lowest_failing
        return max((n for n, passed in self.answers.items() if passed and (high is None or n < high)), default=None)

    @property
    def lowest_failing(self) -> int | None:
        """The smallest level that failed; None: none did."""
        return min((n for n, passed in self.answers.items() if not passed), default=None)

    @property
    def ratio(self) -> float:
        """How far apart the ends are; infinite while one is missing."""
        low, high = self.best_passing, self.lowest_failing
        return math.inf if low is None or high is None else high / low

    @property
    def tight(self) -> bool:
        """Whether nothing is left to be found between the ends."""
        low, high = self.best_passing or 0, self.lowest_failing
        if high is None:
            return low >= self.most_streams
        return high - low <= 1 or (low > 0 and high <= low * (1 + self.tolerance))

    def told(self, streams: int, passed: bool | None, busy: float | None = None) -> "QuickSearch":
        """The search after one more level; None: it gave no answer. `busy`: the share of the server that it took."""
        if passed is None:
            tries = {**self.unusable, streams: self.unusable.get(streams, 0) + 1}
            return msgspec.structs.replace(self, unusable=tries)
        answers = {**self.answers, streams: passed and self.answers.get(streams, True)}
        shares = self.busy if busy is None else {**self.busy, streams: busy}
        return msgspec.structs.replace(self, answers=answers, busy=shares)

    def next(self) -> int | None:
        """The level to measure now; None: the bracket is tight, or no level gives an answer."""
        if self.tight:
            return None
        wanted = self._wanted()
        floor = self.best_passing or 0
        while self.unusable.get(wanted, 0) >= _TRIES:
            # More load is not measured any better.
            lower = max(floor + 1, round(math.sqrt(max(floor, 0.5) * wanted)))
            if lower >= wanted:
                return None
            wanted = lower
        return wanted

    def _wanted(self) -> int:
        low, high = self.best_passing, self.lowest_failing
        if low is None:
            return 1 if high is None else max(1, high // 2)
        if high is not None:
            return min(high - 1, max(low + 1, round(math.sqrt(low * high))))
        farthest = (_FARTHEST if len(self.answers) == 1 else _FARTHEST_LATER) * low
        guess = low / self.busy[low] if self.busy.get(low) else farthest
        return min(self.most_streams, round(min(max(guess, 2 * low), farthest)))
