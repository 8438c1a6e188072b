"""Where is the knee? A search that brackets the largest load within the objective, as a pure state machine.

It doubles until a level fails, bisects by ratio (a tenth more streams is a tenth more at any size) until the bracket is
tight, and then repeats the levels at its edge for longer: near a knee a level passes once and fails the next time, and
a short level passes where the queue had no time to grow. A longer answer outweighs shorter ones; equal answers that
contradict each other put a level on neither side, and the bracket reaches around it. So `[best_passing,
lowest_failing)` is what the evidence allows, and no more. The search knows nothing of clocks and servers: it is told
answers and says what is next.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import msgspec

Step = Literal["double", "bisect", "repeat"]
Standing = Literal["pass", "fail", "mixed"]

_DOUBLINGS = 2
_LEAP = 3
"""After the doublings the step is three: large servers are found in few levels, and three bisections close the gap to
the eighth root of three, 14.7 %."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When a search may stop."""

    tolerance: float = 0.15
    """Width of the bracket as a share of its lower end."""
    levels: int = 12
    first: int = 1
    most_streams: int = 10_000


class Answer(msgspec.Struct, frozen=True):
    """What one measurement of a level said; `long` ones were held for longer and outweigh the others."""

    passed: bool
    long: bool = False


class Next(msgspec.Struct, frozen=True):
    """A level to measure."""

    streams: int
    step: Step

    @property
    def long(self) -> bool:
        """Whether to hold it for longer."""
        return self.step == "repeat"


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Everything measured so far. `told` returns a new search; nothing is changed in place."""

    limits: Limits = Limits()
    answers: Mapping[int, tuple[Answer, ...]] = {}
    """For each level its answers in the order they came."""
    unusable: int = 0
    """Levels that gave no answer, counted against the budget."""

    # --- what is known -------------------------------------------------------------------------------

    @property
    def best_passing(self) -> int | None:
        """The largest level that passed, below every level that did not; None: none passed."""
        standing = self._standings()
        doubtful = min((n for n, stands in standing.items() if stands != "pass"), default=math.inf)
        return max((n for n, stands in standing.items() if stands == "pass" and n < doubtful), default=None)

    @property
    def lowest_failing(self) -> int | None:
        """The smallest level that failed, above every level that did not; None: none failed."""
        standing = self._standings()
        doubtful = max((n for n, stands in standing.items() if stands != "fail"), default=0)
        return min((n for n, stands in standing.items() if stands == "fail" and n > doubtful), default=None)

    @property
    def measured(self) -> int:
        """How many levels were measured, repeats included."""
        return self.unusable + sum(len(said) for said in self.answers.values())

    @property
    def width(self) -> float | None:
        """The bracket's width as a share of its lower end; None while it is open."""
        low, high = self.best_passing, self.lowest_failing
        return None if low is None or high is None else (high - low) / low

    @property
    def resolved(self) -> bool:
        """Whether the bracket is as tight as asked, or as whole streams allow."""
        low, high = self.best_passing or 0, self.lowest_failing
        if high is None:
            return False
        return high - low <= 1 or (low > 0 and (high - low) / low <= self.limits.tolerance)

    @property
    def stop_reason(self) -> str | None:
        """Why there is nothing more to measure; None while there is."""
        if self.resolved and not self._unconfirmed():
            return "resolved"
        if self.measured >= self.limits.levels:
            spent = f"{self.limits.levels} levels were measured"
            if not self.resolved:
                return f"not resolved: {spent}"
            open_edges = " and ".join(str(n) for n in self._unconfirmed())
            return f"resolved, though {open_edges} could not be repeated: {spent}"
        if self.lowest_failing is None and self.best_passing == self.limits.most_streams:
            return f"not resolved: {self.limits.most_streams} streams still pass"
        return None

    # --- what is next --------------------------------------------------------------------------------

    def told(self, streams: int, passed: bool | None, *, long: bool = False) -> "Search":
        """The search after one more answer; None: the level was invalid and says nothing."""
        if passed is None:
            return msgspec.structs.replace(self, unusable=self.unusable + 1)
        answers = {**self.answers, streams: (*self.answers.get(streams, ()), Answer(passed, long))}
        return msgspec.structs.replace(self, answers=answers)

    def next(self) -> Next | None:
        """The level to measure now; None when the search is over."""
        if self.stop_reason is not None:
            return None
        if self.lowest_failing is None:
            return self._upwards()
        if not self.resolved:
            inside = self._inside()
            # Every level inside was measured and some contradict each other: a longer look decides.
            return Next(inside, "bisect") if inside else Next(self._least_measured(), "repeat")
        return Next(self._unconfirmed()[0], "repeat")

    def _upwards(self) -> Next:
        tried = max(self.answers, default=0)
        if not tried:
            return Next(self.limits.first, "double")
        factor = 2 if len(self.answers) < _DOUBLINGS else _LEAP
        return Next(min(self.limits.most_streams, tried * factor), "double")

    def _inside(self) -> int | None:
        """An unmeasured level in the widest gap of the bracket, by ratio."""
        low, high = self.best_passing or 0, self.lowest_failing
        assert high is not None
        marks = sorted({low, high, *(n for n in self.answers if low < n < high)})
        gaps = [(b / max(a, 0.5), a, b) for a, b in pairwise(marks) if b - a > 1]
        if not gaps:
            return None
        _, a, b = max(gaps)
        return min(b - 1, max(a + 1, round(math.sqrt(max(a, 0.5) * b))))

    def _unconfirmed(self) -> list[int]:
        """Edges without a long answer; the passing one first, since it is what people will rely on."""
        edges = (self.best_passing, self.lowest_failing)
        return [n for n in edges if n is not None and not any(answer.long for answer in self.answers[n])]

    def _least_measured(self) -> int:
        low, high = self.best_passing or 0, self.lowest_failing or math.inf
        inside = [n for n in self.answers if low < n < high]
        return min(inside, key=lambda n: (len(self.answers[n]), n))

    def _standings(self) -> dict[int, Standing]:
        """Where each level stands: its longest answers count, and more load is never easier."""
        long = {n: [a.passed for a in said if a.long] for n, said in self.answers.items()}
        fails_from = min((n for n, said in long.items() if said and not any(said)), default=math.inf)
        holds_to = max((n for n, said in long.items() if said and all(said)), default=0)
        return {
            n: _stand(long[n] or self._implied(n, fails_from, holds_to) or [a.passed for a in said])
            for n, said in self.answers.items()
        }

    @staticmethod
    def _implied(streams: int, fails_from: float, holds_to: float) -> list[bool]:
        # What a long level below failed, a short one above cannot carry; and the other way round.
        if streams > fails_from and streams > holds_to:
            return [False]
        return [True] if streams < holds_to and streams < fails_from else []


def _stand(said: list[bool]) -> Standing:
    return "mixed" if any(said) and not all(said) else "pass" if all(said) else "fail"
