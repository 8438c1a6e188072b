"""Which level comes next: a list, a search, or the same one for hours. A plan is told every answer, stored ones too."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from capacity.sweep.search import Limits, Search
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted

BASELINE = "baseline"
"""The purpose of a level of one stream that others are compared with."""
BASELINE_TRIES = 2
"""A stream that gives no word error rate twice will not do so later."""


class Ask(msgspec.Struct, frozen=True):
    """A level to measure, and what for, in a word or two."""

    streams: int
    purpose: str
    long: bool = False
    """Hold it until its answer is known."""
    hold_seconds: float | None = None
    """Hold the streams so long, in blocks that are measured each; None: a single level."""


class Plan(Protocol):
    """What a sweep wants to know."""

    def next(self) -> Ask | None:
        """The level to measure now; None when there is nothing more."""
        ...

    def told(self, streams: int, passed: bool | None, *, long: bool) -> None:
        """Take an answer; None: the level could not be used."""
        ...

    @property
    def left(self) -> int | None:
        """How many levels may follow; None when nobody knows."""
        ...

    @property
    def outcome(self) -> str | None:
        """What there is to say in the end, beside the levels."""
        ...


class FromOneStream:
    """Another plan, whose levels count from one stream: that is asked for first, while `known` says no."""

    def __init__(self, plan: Plan, known: Callable[[], bool]) -> None:
        self._plan = plan
        self._known = known
        self._tries = 0

    def next(self) -> Ask | None:
        """See `Plan`.

        Raises:
            UserError: one stream was tried often enough, whatever kept it from being measured (exit 1).
        """
        ask = self._plan.next()
        if ask is None or ask.streams == 1 or self._known():
            return ask
        if self._tries >= BASELINE_TRIES:
            raise UserError(
                f"one stream gave no word error rate in {self._tries} tries, and the objective counts from it; mend "
                "that first, or leave `wer<=+…` out of --objective",
                Exit.NO,
            )
        return Ask(1, BASELINE)

    def told(self, streams: int, passed: bool | None, *, long: bool) -> None:
        """See `Plan`."""
        self._tries += streams == 1
        self._plan.told(streams, passed, long=long)

    @property
    def left(self) -> int | None:
        """See `Plan`: the levels of the other one."""
        return self._plan.left

    @property
    def outcome(self) -> str | None:
        """See `Plan`."""
        return self._plan.outcome


class LevelList:
    """Levels as given, each measured once; what was stored before is not measured again."""

    def __init__(self, levels: Sequence[int]) -> None:
        self._left = list(levels)

    def next(self) -> Ask | None:
        """See `Plan`."""
        return Ask(self._left[0], "") if self._left else None

    def told(self, streams: int, passed: bool | None, *, long: bool) -> None:  # noqa: ARG002  # any answer will do
        """See `Plan`."""
        if streams in self._left:
            self._left.remove(streams)

    @property
    def left(self) -> int | None:
        """See `Plan`."""
        return len(self._left)

    @property
    def outcome(self) -> str | None:
        """See `Plan`."""
        return None


class SearchPlan:
    """The search for the knee."""

    def __init__(self, limits: Limits) -> None:
        self.search = Search(limits=limits)

    def next(self) -> Ask | None:
        """See `Plan`."""
        step = self.search.next()
        return None if step is None else Ask(step.streams, step.step, long=step.long)

    def told(self, streams: int, passed: bool | None, *, long: bool) -> None:
        """See `Plan`."""
        self.search = self.search.told(streams, passed, long=long)

    @property
    def left(self) -> int | None:
        """See `Plan`: at most the rest of the budget."""
        return self.search.limits.levels - self.search.measured

    @property
    def outcome(self) -> str | None:
        """See `Plan`."""
        low, high = self.search.best_passing, self.search.lowest_failing
        if low is None and high is None:
            bracket = "no level gave an answer"
        elif low is None:
            bracket = f"not even {counted(high, 'stream')} met the objective"
        elif high is None:
            bracket = f"{counted(low, 'stream')} met the objective, and no level failed"
        else:
            bracket = f"the limit lies in [{low}, {high}): {low} met the objective, {high} did not"
        return f"{bracket}; {self.search.stop_reason or 'stopped before it was resolved'}"


class Soak:
    """One number of streams, held for hours."""

    def __init__(self, streams: int, seconds: float) -> None:
        self._streams = streams
        self._seconds = seconds
        self._begun = False

    def next(self) -> Ask | None:
        """See `Plan`."""
        return None if self._begun else Ask(self._streams, "soak", hold_seconds=self._seconds)

    def told(self, streams: int, passed: bool | None, *, long: bool) -> None:  # noqa: ARG002  # any answer will do
        """See `Plan`: a block was measured."""
        self._begun = self._begun or streams == self._streams

    @property
    def left(self) -> int | None:
        """See `Plan`."""
        return None

    @property
    def outcome(self) -> str | None:
        """See `Plan`."""
        return None
