"""Where is the knee? A search that brackets the largest load within the objective, as a pure state machine.

It leaps to 8 and on by four until a level fails, and bisects by ratio (a tenth more streams is a tenth more at any
size). Those levels are short, and a short level flatters: where a queue has no time to grow, more passes than holds. So
they only say where to look. The answer comes from levels that are held until it is known: the first two stand around
the middle of what was found, a tolerance apart, and where both pass or both fail the next stands a tolerance further
on. So `[best_passing, lowest_failing)` is what held levels say, and no more. The search knows nothing of clocks and
servers: it is given answers and says what is next.
"""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from capacity.loadtest.level_request import LevelAnswer, LevelRequest
from whisper_ops.formatting import counted

Standing = Literal["pass", "fail", "mixed"]

_FIRST_LEAP = 8
_LEAP = 4
"""Large servers are found in few levels; four bisections leave a tenth of what a leap left open."""
_LOCATED = 2 / 3
"""Short levels have said enough when they leave this share of the tolerance, by ratio: the held ones around them then
stand a few per cent outside on either side."""
_FLATTERY = 0.97
"""The middle of short answers is so much too high, about: what passes for a minute and not for ten."""


class SearchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When a search may stop."""

    tolerance: float = 0.15
    """Width of the bracket as a share of its lower end."""
    levels: int = 12
    first: int = 1
    most_streams: int = 10_000


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Everything measured so far; `with_answer` returns a new search."""

    limits: SearchLimits = SearchLimits()
    answers: Mapping[int, tuple[LevelAnswer, ...]] = {}
    """For each level its answers in the order they came."""
    unusable: int = 0
    """Levels that gave no answer, counted against the budget."""

    # --- what is known -------------------------------------------------------------------------------

    @property
    def best_passing(self) -> int | None:
        """The largest level that passed, below every level that did not; None: none passed."""
        return self._bracket[0]

    @property
    def lowest_failing(self) -> int | None:
        """The smallest level that failed, above every level that did not; None: none failed."""
        return self._bracket[1]

    @property
    def measured(self) -> int:
        """How many levels were measured, repeats included."""
        return self.unusable + sum(len(answers) for answers in self.answers.values())

    @property
    def width(self) -> float | None:
        """The bracket's width as a share of its lower end; None while it is open."""
        low, high = self._bracket
        return None if low is None or high is None else (high - low) / low

    @property
    def resolved(self) -> bool:
        """Whether the bracket is as tight as asked, or as whole streams allow."""
        return self._within(*self._bracket, 1.0)

    @property
    def stop_reason(self) -> str | None:
        """Why there is nothing more to measure; None while there is."""
        if self.resolved and not self._not_held():
            return "resolved"
        if self.measured >= self.limits.levels:
            spent = counted(self.limits.levels, "level was measured", "levels were measured")
            if not self.resolved:
                return f"not resolved: {spent}"
            open_edges = " and ".join(str(n) for n in self._not_held())
            return f"resolved, though {open_edges} could not be held for longer: {spent}"
        if self.lowest_failing is None and self.best_passing == self.limits.most_streams:
            return f"not resolved: {counted(self.limits.most_streams, 'stream still passes', 'streams still pass')}"
        return None

    # --- what is next --------------------------------------------------------------------------------

    def with_answer(self, answer: LevelAnswer) -> "Search":
        """The search after one more answer."""
        if answer.passed is None:
            return msgspec.structs.replace(self, unusable=self.unusable + 1)
        answers = {**self.answers, answer.streams: (*self.answers.get(answer.streams, ()), answer)}
        return msgspec.structs.replace(self, answers=answers)

    def next(self) -> LevelRequest | None:
        """The level to measure now; None when the search is over."""
        if self.stop_reason is not None:
            return None
        low, high = self._edges()
        held = self._edges(held=True)
        if held != (None, None) and not self._far_above(held, low, high):
            return LevelRequest(self._beyond(*held), "hold", "adaptive")
        if high is None:
            tried = max(self.answers, default=0)
            factor = _FIRST_LEAP if len(self.answers) == 1 else _LEAP
            return LevelRequest(min(self.limits.most_streams, tried * factor) if tried else self.limits.first, "leap")
        if not self._within(low, high, _LOCATED):
            return LevelRequest(_middle(low or 0, high), "bisect")
        return LevelRequest(self._first_post(low, high), "hold", "adaptive")

    def _first_post(self, low: int | None, high: int) -> int:
        """The lower of two levels a tolerance apart, around the middle of what short levels left."""
        if low is None:
            return high
        wide = 1 + self.limits.tolerance
        centred = math.sqrt(low * high) * _FLATTERY / math.sqrt(wide)
        return min(low, max(math.ceil(centred), math.ceil(high / wide)))

    def _far_above(self, held: tuple[int | None, int | None], low: int | None, high: int | None) -> bool:
        """Whether the limit is far above what was held: the first level, which any pause of the server can fail."""
        passing, failing = held
        if passing is None or failing is not None:
            return False
        return self._beyond(passing, None) < (low or 0) or (high is None and passing == self.limits.first)

    def _beyond(self, passing: int | None, failing: int | None) -> int:
        """A tolerance further on than the level that was held, where its answer points."""
        wide = 1 + self.limits.tolerance
        if passing is None:
            assert failing is not None
            return min(failing - 1, math.ceil(failing / wide))
        if failing is None:
            return min(self.limits.most_streams, max(passing + 1, math.floor(passing * wide)))
        return _middle(passing, failing)  # wider apart than asked: an earlier sweep's levels, say

    def _within(self, low: int | None, high: int | None, share: float) -> bool:
        """Whether a bracket is no wider than a share of the tolerance, by ratio, or than one stream."""
        if high is None:
            return False
        return high - (low or 0) <= 1 or (low is not None and high <= low * (1 + self.limits.tolerance) ** share)

    def _not_held(self) -> list[int]:
        return [n for n in self._bracket if n is not None and not any(answer.adaptive for answer in self.answers[n])]

    @property
    def _bracket(self) -> tuple[int | None, int | None]:
        """By held levels alone where they have both ends: a short level between them narrows nothing."""
        held = self._edges(held=True)
        return self._edges() if None in held else held

    def _edges(self, *, held: bool = False) -> tuple[int | None, int | None]:
        """The bracket, by all answers or by those of held levels only."""
        standing = self._standings(held=held)
        doubtful = min((n for n, stands in standing.items() if stands != "pass"), default=math.inf)
        low = max((n for n, stands in standing.items() if stands == "pass" and n < doubtful), default=None)
        doubtful = max((n for n, stands in standing.items() if stands != "fail"), default=0)
        return low, min((n for n, stands in standing.items() if stands == "fail" and n > doubtful), default=None)

    def _standings(self, *, held: bool) -> dict[int, Standing]:
        """Where each level stands: its longest answers count, and more load is never easier."""
        long = {n: [a.passed is True for a in answers if a.adaptive] for n, answers in self.answers.items()}
        if held:
            return {n: _stand(passes) for n, passes in long.items() if passes}
        fails_from = min((n for n, passes in long.items() if passes and not any(passes)), default=math.inf)
        holds_to = max((n for n, passes in long.items() if passes and all(passes)), default=0)
        return {
            n: _stand(long[n] or _implied(n, fails_from, holds_to) or [a.passed is True for a in answers])
            for n, answers in self.answers.items()
        }


def _middle(low: int, high: int) -> int:
    """The level halfway by ratio; `high` is at least two above `low`."""
    return min(high - 1, max(low + 1, round(math.sqrt(max(low, 0.5) * high))))


def _implied(streams: int, fails_from: float, holds_to: float) -> list[bool]:
    # What a long level below failed, a short one above cannot carry; and the other way round.
    if streams > fails_from and streams > holds_to:
        return [False]
    return [True] if streams < holds_to and streams < fails_from else []


def _stand(passes: list[bool]) -> Standing:
    return "mixed" if any(passes) and not all(passes) else "pass" if all(passes) else "fail"
