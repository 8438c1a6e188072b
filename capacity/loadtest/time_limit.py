"""A search that ends in a given time, whatever it has found by then."""

import math
import time
from collections.abc import Callable

import msgspec

from capacity.loadgen.arrivals import level_seconds
from capacity.loadtest.conclusion import bracket_in_words
from capacity.loadtest.quick_search import NARROW, QuickSearch
from capacity.loadtest.strategies import LevelRequest
from capacity.loadtest.time_estimates import BETWEEN_SECONDS
from whisper_ops.formatting import counted, planned_time

_LEAST_SECONDS = 8.0
"""A shorter level hears hardly an utterance to its end. Where the limit may be anywhere, levels are no longer."""
_FIRST_SECONDS = 10.0
"""A single stream says few words, and others are compared with it."""
_SLACK_SECONDS = 2.0
"""A server that is behind gives its last texts late."""
_PURPOSE = "within"


class SearchWithin:
    """A `strategies.Plan`: the quick search until the time is over, in levels as long as it has room for."""

    def __init__(
        self,
        seconds: float,
        level_seconds: float,
        search: QuickSearch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds` for all of it, from the first level on; `level_seconds` a level at most."""
        self.search = search or QuickSearch()
        self._seconds = seconds
        self._level = level_seconds
        self._clock = clock
        self._ends_at: float | None = None
        self._slots: int | None = None
        self._over = False

    def next(self) -> LevelRequest | None:
        """See `Plan`: None also where no level fits into the time that is left."""
        streams = None if self._over else self.search.next()
        if streams is None:
            return None
        seconds = self._lasting(self.search, self.left_seconds)
        if seconds is None:
            self._over = True
            return None
        return LevelRequest(streams, _PURPOSE, at_most_seconds=seconds)

    @property
    def left_seconds(self) -> float:
        """Of the time that was given; it begins to run with the first question."""
        if self._ends_at is None:
            self._ends_at = self._clock() + self._seconds
        return self._ends_at - self._clock()

    def _lasting(self, search: QuickSearch, left: float) -> float | None:
        """How long the next level may be, so that those that an answer needs fit in; None: too little is left."""
        wanted, streams = _levels_to(search, NARROW)
        room = left - _overhead(search.next() or 1)
        if room < _LEAST_SECONDS:
            return None
        most = self._level
        if search.lowest_failing is None:
            most = min(most, _LEAST_SECONDS if search.answers else _FIRST_SECONDS)
        # Fewer levels than an answer needs: those that fit are the better ones.
        return min(most, room, max(_LEAST_SECONDS, left / wanted - _overhead(streams)))

    def told(self, streams: int, passed: bool | None, *, long: bool, busy: float | None = None) -> None:  # noqa: ARG002  # none is held
        """See `Plan`."""
        self.search = self.search.told(streams, passed, busy)

    def fit(self, slots: int) -> str | None:
        """See `Plan`."""
        if self.most <= slots:
            return None
        self._slots = slots
        self.search = msgspec.structs.replace(self.search, most_streams=slots)
        return f"it has {counted(slots, 'slot')}, and the search goes no higher"

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        """See `Plan`: were the limit in the middle of what is known."""
        search, left, asks = self.search, self.left_seconds, list[LevelRequest]()
        while not self._over and (streams := search.next()) is not None:
            seconds = self._lasting(search, left)
            if seconds is None:
                break
            asks.append(LevelRequest(streams, _PURPOSE, at_most_seconds=seconds))
            left -= seconds + _overhead(streams)
            search = search.told(streams, streams <= _guess(self.search))
        return tuple(asks)

    @property
    def most(self) -> int:
        """See `Plan`."""
        return self.search.most_streams

    @property
    def left(self) -> int | None:
        """See `Plan`: as many as are expected."""
        return len(self.expected)

    @property
    def outcome(self) -> str | None:
        """See `Plan`."""
        low, high = self.search.best_passing, self.search.lowest_failing
        said = bracket_in_words(low, high)
        if high is None and low is not None and low == self._slots:
            return f"{said}: that is every slot of the server"
        if self.search.tight or (low is None and high == 1):
            return said
        if self._over:
            return f"{said}; {planned_time(self._seconds)} were too short for more"
        return f"{said}; more load gave no evidence" if self.search.next() is None else said


def _guess(search: QuickSearch) -> float:
    low, high = search.best_passing or 0, search.lowest_failing
    return math.sqrt(max(low, 1) * high) if high is not None else max(1.5 * (search.next() or low), 1)


def _levels_to(search: QuickSearch, ratio: float) -> tuple[int, int]:
    """How many levels it takes until the ends are so near, were the limit in the middle; and the largest of them."""
    guess, count, largest = _guess(search), 0, search.next() or 1
    while (streams := search.next()) is not None and (search.ratio > ratio or not count):
        search = search.told(streams, streams <= guess)
        count, largest = count + 1, max(largest, streams)
    return count, largest


def _overhead(streams: int) -> float:
    """What a level takes besides the time in which it is measured."""
    return level_seconds(streams, _LEAST_SECONDS) - _LEAST_SECONDS + BETWEEN_SECONDS + _SLACK_SECONDS
