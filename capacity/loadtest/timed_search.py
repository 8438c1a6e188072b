"""The search in a given time: as tight a bracket as it allows, from levels that are each chosen by those before.

One stream shows how much of the server it takes; that says where the limit may lie, and the next level stands there:
at twice the load at least, and where nothing says more, at four times. Between a level that passed and one that failed
the next one is in the middle, by ratio, until the time is over or the bracket is tight. Levels are short, so what it
finds is provisional; `search` takes the time to be sure.
"""

import math
import time
from collections.abc import Callable

import msgspec

from capacity.loadgen.arrivals import level_seconds
from capacity.loadtest.conclusion import bracket_in_words
from capacity.loadtest.level_request import LevelAnswer, LevelRequest
from capacity.loadtest.time_estimates import BETWEEN_SECONDS
from whisper_ops.formatting import counted, planned_time

_FARTHEST = 8
"""A single stream's share of a server is a rough guess, and further than this it is none."""
_FARTHEST_LATER = 4
_TRIES = 2
"""A level that twice gave no answer gives none."""
NARROW = 2.0
"""Ends no further apart than this, by ratio, are an answer; tighter ones are a better one."""
_LEAST_SECONDS = 8.0
"""A shorter level hears hardly an utterance to its end. Where the limit may be anywhere, levels are no longer."""
_FIRST_SECONDS = 10.0
"""A single stream says few words, and others are compared with it."""
_SLACK_SECONDS = 2.0
"""A server that is behind gives its last texts late."""
_PURPOSE = "within"


class QuickSearch(msgspec.Struct, frozen=True, kw_only=True):
    """What short levels said so far; `with_answer` returns a new search."""

    tolerance: float = 0.15
    """Width of the bracket as a share of its lower end, at which it is tight."""
    most_streams: int = 10_000
    answers: tuple[LevelAnswer, ...] = ()

    @property
    def best_passing(self) -> int | None:
        """The largest level that passed below every one that failed; None: none did."""
        high = self.lowest_failing
        passed = (answer.streams for answer in self.answers if answer.passed)
        return max((n for n in passed if high is None or n < high), default=None)

    @property
    def lowest_failing(self) -> int | None:
        """The smallest level that failed; None: none did."""
        return min((answer.streams for answer in self.answers if answer.passed is False), default=None)

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

    def with_answer(self, answer: LevelAnswer) -> "QuickSearch":
        """The search after one more level."""
        return msgspec.structs.replace(self, answers=(*self.answers, answer))

    def next(self) -> int | None:
        """The level to measure now; None: the bracket is tight, or no level gives an answer."""
        if self.tight:
            return None
        wanted = self._wanted()
        floor = self.best_passing or 0
        while sum(one.streams == wanted and one.passed is None for one in self.answers) >= _TRIES:
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
        answered = {answer.streams for answer in self.answers if answer.passed is not None}
        farthest = (_FARTHEST if len(answered) == 1 else _FARTHEST_LATER) * low
        busy = next((one.busy for one in reversed(self.answers) if one.streams == low and one.busy), None)
        guess = low / busy if busy else farthest
        return min(self.most_streams, round(min(max(guess, 2 * low), farthest)))


class TimedSearch:
    """A strategy: the quick search until the time is over, in levels as long as it has room for."""

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
        """None also where no level fits into the time that is left."""
        streams = None if self._over else self.search.next()
        if streams is None:
            return None
        seconds = self._lasting(self.search, self.left_seconds)
        if seconds is None:
            self._over = True
            return None
        return LevelRequest(streams, _PURPOSE, seconds=seconds)

    @property
    def left_seconds(self) -> float:
        """Of the time that was given; it begins to run with the first question."""
        if self._ends_at is None:
            self._ends_at = self._clock() + self._seconds
        return self._ends_at - self._clock()

    def _lasting(self, search: QuickSearch, left: float) -> float | None:
        """How long the next level may be, so that those that an answer needs fit in; None: too little is left."""
        needed, streams = _levels_to(search, NARROW)
        room = left - _overhead(search.next() or 1)
        if room < _LEAST_SECONDS:
            return None
        most = self._level
        if search.lowest_failing is None:
            most = min(most, _LEAST_SECONDS if search.answers else _FIRST_SECONDS)
        # Fewer levels than an answer needs: those that fit are the better ones.
        return min(most, room, max(_LEAST_SECONDS, left / needed - _overhead(streams)))

    def add(self, answer: LevelAnswer) -> None:
        self.search = self.search.with_answer(answer)

    def fit(self, slots: int) -> str | None:
        if self.most_streams <= slots:
            return None
        self._slots = slots
        self.search = msgspec.structs.replace(self.search, most_streams=slots)
        return f"it has {counted(slots, 'slot')}, and the search goes no higher"

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        """If the limit is in the middle of what is known."""
        search, left, requests = self.search, self.left_seconds, list[LevelRequest]()
        while not self._over and (streams := search.next()) is not None:
            seconds = self._lasting(search, left)
            if seconds is None:
                break
            requests.append(LevelRequest(streams, _PURPOSE, seconds=seconds))
            left -= seconds + _overhead(streams)
            search = search.with_answer(LevelAnswer(streams, streams <= _guess(self.search)))
        return tuple(requests)

    @property
    def most_streams(self) -> int:
        return self.search.most_streams

    @property
    def levels_left(self) -> int | None:
        """As many as are expected."""
        return len(self.expected)

    @property
    def conclusion(self) -> str | None:
        low, high = self.search.best_passing, self.search.lowest_failing
        bracket = bracket_in_words(low, high)
        if high is None and low is not None and low == self._slots:
            return f"{bracket}: that is every slot of the server"
        if self.search.tight or (low is None and high == 1):
            return bracket
        if self._over:
            return f"{bracket}; {planned_time(self._seconds)} were too short for more"
        return f"{bracket}; more load gave no evidence" if self.search.next() is None else bracket


def _guess(search: QuickSearch) -> float:
    low, high = search.best_passing or 0, search.lowest_failing
    return math.sqrt(max(low, 1) * high) if high is not None else max(1.5 * (search.next() or low), 1)


def _levels_to(search: QuickSearch, ratio: float) -> tuple[int, int]:
    """How many levels it takes until the ends are so near, were the limit in the middle; and the largest of them."""
    guess, count, largest = _guess(search), 0, search.next() or 1
    while (streams := search.next()) is not None and (search.ratio > ratio or not count):
        search = search.with_answer(LevelAnswer(streams, streams <= guess))
        count, largest = count + 1, max(largest, streams)
    return count, largest


def _overhead(streams: int) -> float:
    """What a level takes besides the time in which it is measured."""
    return level_seconds(streams, _LEAST_SECONDS) - _LEAST_SECONDS + BETWEEN_SECONDS + _SLACK_SECONDS
