"""Which level comes next: a list, a search, or the same one for hours."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from capacity.loadtest.conclusion import bracket_in_words
from capacity.loadtest.level_request import LevelAnswer, LevelRequest
from capacity.loadtest.search import Search, SearchLimits
from capacity.loadtest.time_estimates import BASELINE_SECONDS
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted

BASELINE = "baseline"
"""The purpose of a level of one stream that others are compared with."""
BASELINE_TRIES = 2
"""A stream that gives no word error rate twice will not do so later."""
_FIRST_GUESS = 4


class Strategy(Protocol):
    """What a sweep wants to know."""

    def next(self) -> LevelRequest | None:
        """The level to measure now; None when there is nothing more."""
        ...

    def add(self, answer: LevelAnswer) -> None:
        """Count an answer, of a level that it asked for or of one that an earlier sweep stored."""
        ...

    def fit(self, slots: int) -> str | None:
        """Ask for no more streams than the server takes at once; what to say where that changes something.

        Raises:
            UserError: more was asked for by name.
        """
        ...

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        """The levels that are to come, as far as is known now."""
        ...

    @property
    def most_streams(self) -> int:
        """The most streams that it may ask for."""
        ...

    @property
    def levels_left(self) -> int | None:
        """How many levels may follow; None where that is not known."""
        ...

    @property
    def conclusion(self) -> str | None:
        """The conclusion in a sentence; None: the levels say it all."""
        ...


class BaselineFirst:
    """Another strategy whose levels are compared with one stream: that is asked for first, until `known`.

    Where the strategy has no level of one stream itself, the baseline is a short level, and answers nothing of it.
    """

    def __init__(self, strategy: Strategy, known: Callable[[], bool]) -> None:
        self._strategy = strategy
        self._known = known
        self._tries = 0

    def next(self) -> LevelRequest | None:
        """The next level, or the one stream first.

        Raises:
            UserError: one stream was tried often enough, whatever kept it from being measured (exit 1).
        """
        request = self._strategy.next()
        if request is None or request.streams == 1 or self._known():
            return request
        if self._tries >= BASELINE_TRIES:
            raise UserError(
                f"one stream gave no word error rate in {self._tries} tries, and the objective counts from it; fix "
                "that first, or leave `wer<=+…` out of --objective",
                Exit.NO,
            )
        return self._baseline()

    def _baseline(self) -> LevelRequest:
        alone = all(request.streams != 1 for request in self._strategy.expected)
        return LevelRequest(1, BASELINE, seconds=BASELINE_SECONDS if alone else None)

    def add(self, answer: LevelAnswer) -> None:
        self._tries += answer.streams == 1
        self._strategy.add(answer)

    def fit(self, slots: int) -> str | None:
        return self._strategy.fit(slots)

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        """With the one stream."""
        requests = self._strategy.expected
        needed = requests and requests[0].streams != 1 and not self._known() and self._tries < BASELINE_TRIES
        if not needed:
            return requests
        baseline = self._baseline()
        rest = (
            requests if baseline.seconds is not None else tuple(request for request in requests if request.streams != 1)
        )
        return (baseline, *rest)

    @property
    def most_streams(self) -> int:
        return self._strategy.most_streams

    @property
    def levels_left(self) -> int | None:
        """The levels of the other one, and the one stream where it is no level of those."""
        left, requests = self._strategy.levels_left, self.expected
        extra = bool(requests) and requests[0].purpose == BASELINE and requests[0].seconds is not None
        return None if left is None else left + extra

    @property
    def conclusion(self) -> str | None:
        return self._strategy.conclusion


class LevelList:
    """Levels as given, each measured once; what was stored before is not measured again."""

    def __init__(self, levels: Sequence[int], *, usual: bool = False) -> None:
        """`usual`: the default levels, of which a small server gets fewer."""
        self._left = list(levels)
        self._usual = usual

    def next(self) -> LevelRequest | None:
        return LevelRequest(self._left[0]) if self._left else None

    def add(self, answer: LevelAnswer) -> None:
        if answer.streams in self._left:
            self._left.remove(answer.streams)

    def fit(self, slots: int) -> str | None:
        """Of the usual levels those that fit, and the full server."""
        if self.most_streams <= slots:
            return None
        if not self._usual:
            beyond = ",".join(str(level) for level in self._left if level > slots)
            raise _beyond(f"--levels {beyond}", slots)
        self._left = [*(level for level in self._left if level < slots), slots]
        return f"it has {counted(slots, 'slot')}, so the levels are {', '.join(map(str, self._left))}"

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        return tuple(LevelRequest(streams) for streams in self._left)

    @property
    def most_streams(self) -> int:
        return max(self._left, default=0)

    @property
    def levels_left(self) -> int | None:
        return len(self._left)

    @property
    def conclusion(self) -> str | None:
        return None


class SearchStrategy:
    """The search for the knee."""

    def __init__(self, limits: SearchLimits) -> None:
        self.search = Search(limits=limits)
        self._slots: int | None = None

    def next(self) -> LevelRequest | None:
        return self.search.next()

    def add(self, answer: LevelAnswer) -> None:
        self.search = self.search.with_answer(answer)

    def fit(self, slots: int) -> str | None:
        if self.most_streams <= slots:
            return None
        self._slots = slots
        limits = msgspec.structs.replace(self.search.limits, most_streams=slots)
        self.search = msgspec.structs.replace(self.search, limits=limits)
        return f"it has {counted(slots, 'slot')}, and the search goes no higher"

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        """If the limit is in the middle of what is known."""
        low, high = self.search.best_passing or 0, self.search.lowest_failing
        limit = max(2 * low, _FIRST_GUESS) if high is None else math.sqrt(max(low, 1) * high)
        search, requests = self.search, list[LevelRequest]()
        while (request := search.next()) is not None:
            requests.append(request)
            adaptive = request.kind == "adaptive"
            search = search.with_answer(LevelAnswer(request.streams, request.streams <= limit, adaptive))
        return tuple(requests)

    @property
    def most_streams(self) -> int:
        return self.search.limits.most_streams

    @property
    def levels_left(self) -> int | None:
        """At most the rest of the budget."""
        return self.search.limits.levels - self.search.measured

    @property
    def conclusion(self) -> str | None:
        low, high = self.search.best_passing, self.search.lowest_failing
        if high is None and low is not None and low == self._slots:
            return f"{bracket_in_words(low, high)}: that is every slot of the server"
        return f"{bracket_in_words(low, high)}; {self.search.stop_reason or 'stopped before it was resolved'}"


class Soak:
    """One number of streams, held for hours."""

    def __init__(self, streams: int, seconds: float) -> None:
        self._streams = streams
        self._seconds = seconds
        self._begun = False

    def next(self) -> LevelRequest | None:
        return None if self._begun else LevelRequest(self._streams, "soak", "soak", self._seconds)

    def add(self, answer: LevelAnswer) -> None:
        """A block was measured."""
        self._begun = self._begun or answer.streams == self._streams

    def fit(self, slots: int) -> str | None:
        if self._streams > slots:
            raise _beyond(f"--levels {self._streams}", slots)
        return None

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        request = self.next()
        return () if request is None else (request,)

    @property
    def most_streams(self) -> int:
        return self._streams

    @property
    def levels_left(self) -> int | None:
        return None

    @property
    def conclusion(self) -> str | None:
        return None


def _beyond(option: str, slots: int) -> UserError:
    return UserError(
        f"{option}: the server has {counted(slots, 'slot')}, and more streams would only be refused; "
        f"ask for {slots} at most, or give it more slots (serve --max-connections-per-gpu)"
    )
