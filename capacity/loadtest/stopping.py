"""When a level ends before its time. One small rule an idea; a level is given the rules that it needs.

Every rule of a level is asked after each report of the generators (one a second) and after each block; the first that
answers ends the level.
"""

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from capacity.loadgen.messages import LoadProgress
from capacity.models.linear import fit_series
from whisper_ops.history import LevelRecord
from whisper_ops.objective import Objective, ObjectiveTerm
from whisper_ops.objective.findings import StoppedEarly, Unsettled
from whisper_ops.objective.judgement import is_evidence, measures_of, missed

FEWEST_BLOCKS = 3
"""A line needs them, and less is a short level."""
MOST_BLOCKS = 20
"""Where ten leave it open which side of the objective a level is on."""
_ENOUGH_BLOCKS = 10
"""So long a level is to hold; a line through fewer says where it would be then."""
_CONFIDENCE = 0.95
"""Two-sided."""
_TIMES_THE_LIMIT = 4.0
_OVERLOADED_SECONDS = 6.0
_OVERLOADED_REPORTS = 5
"""In a row: a pause of the server is not its end."""
_IN_TIME_REPORTS = 2
"""In a row: the first text of a cold server catches up with all at once, and the next shows its pace."""


class Stop(msgspec.Struct, frozen=True):
    """That a level is to end now."""

    finding: StoppedEarly | Unsettled | None = None
    """What that means for its verdict; None: nothing, what was measured says it all."""


class StopRule:
    """Watches one level. Each method says that it is to end now, or None to go on."""

    def on_report(self, progress: LoadProgress) -> Stop | None:
        """The generators reported, as they do once a second."""

    def on_block(self, block: LevelRecord, level: LevelRecord) -> Stop | None:
        """Another block was measured; `level` is all blocks so far as one level, judged."""


def first_stop(stops: Iterable[Stop | None]) -> Stop | None:
    """The first rule's that answered, after all were asked: rules count what they see."""
    return next((stop for stop in list(stops) if stop is not None), None)


class Overloaded(StopRule):
    """The server cannot carry the level: text far behind the objective, or most streams refused or cut."""

    def __init__(self, streams: int, objective: Objective) -> None:
        limits = [limit for name in ("stable_p95", "first_p95", "stable_p50") if (limit := objective.limit(name))]
        self._limit = max(_OVERLOADED_SECONDS, _TIMES_THE_LIMIT * min(limits)) if limits else None
        self._streams = streams
        self._reports_behind = 0
        self._reports_broken = 0

    def on_report(self, progress: LoadProgress) -> Stop | None:
        self._reports_broken = self._reports_broken + 1 if progress.failed * 2 > self._streams else 0
        if self._reports_broken >= _OVERLOADED_REPORTS:
            return Stop(StoppedEarly(self._streams, ended=progress.failed))
        behind = progress.behind_p50_seconds
        too_far = self._limit is not None and behind is not None and behind > self._limit
        self._reports_behind = self._reports_behind + 1 if too_far else 0
        if self._reports_behind >= _OVERLOADED_REPORTS:
            return Stop(StoppedEarly(self._streams, behind_seconds=self._limit))
        return None


class TextInTime(StopRule):
    """Warm-up: ends once the text of all streams comes in time."""

    def __init__(self, streams: int, behind_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`behind_seconds`: how far text may be behind speech to be in time."""
        self._streams = streams
        self._behind = behind_seconds
        self._clock = clock
        self._began = clock()
        self._reports_in_time = 0
        self.first_text_seconds: float | None = None
        """When the first text had come, to the second; None: none came."""

    @property
    def reached(self) -> bool:
        """Whether text came in time in the end."""
        return self._reports_in_time >= _IN_TIME_REPORTS

    def on_report(self, progress: LoadProgress) -> Stop | None:
        if progress.texts and self.first_text_seconds is None:
            self.first_text_seconds = self._clock() - self._began
        behind = progress.behind_p50_seconds
        speaking = progress.live > 0 and progress.live + progress.failed == self._streams
        has_text = self.first_text_seconds is not None
        in_time = has_text and speaking and behind is not None and behind <= self._behind
        self._reports_in_time = self._reports_in_time + 1 if in_time else 0
        return Stop() if self.reached else None


class TimeLimit(StopRule):
    """Ends a level after a time, whatever it waits for."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + seconds

    def on_report(self, progress: LoadProgress) -> Stop | None:  # noqa: ARG002  # only the time counts
        return Stop() if self._clock() >= self._ends_at else None


class NoEvidence(StopRule):
    """Ends an adaptive level that more blocks would not mend, such as one whose text or streams do not come."""

    def __init__(self) -> None:
        self._blocks = 0

    def on_block(self, block: LevelRecord, level: LevelRecord) -> Stop | None:  # noqa: ARG002  # the whole is judged
        self._blocks += 1
        broken = not is_evidence(level.audit) and self._blocks >= FEWEST_BLOCKS
        return Stop() if broken or level.passed is None else None


class AnswerKnown(StopRule):
    """Ends an adaptive level when its answer is known, or when all blocks that it may have left it open.

    Near the knee a queue grows slowly: a level may pass for minutes and not hold. A line through its blocks says where
    a level of `_ENOUGH_BLOCKS` would end. The answer is known when that is surely on one side of the objective, and
    what was measured is there already.
    """

    def __init__(self, objective: Objective, one_stream: Mapping[str, float | None]) -> None:
        """`one_stream`: the measures that relative conditions count from."""
        # Shares, such as errors, do not creep: what they are by then is all there is to know.
        self._terms = [term for term in objective.terms if term.unit == "seconds"]
        self._one_stream = one_stream
        self._blocks: list[Mapping[str, float | None]] = []

    def on_block(self, block: LevelRecord, level: LevelRecord) -> Stop | None:
        return self.on_measures(measures_of(block), measures_of(level))

    def on_measures(self, block: Mapping[str, float | None], level: Mapping[str, float | None]) -> Stop | None:
        """The same, from what an objective can name."""
        self._blocks.append(block)
        if len(self._blocks) < FEWEST_BLOCKS:
            return None
        sides = [self._side(term, level) for term in self._terms]
        if False in sides or all(sides):
            return Stop()
        if len(self._blocks) < MOST_BLOCKS:
            return None
        open_terms = (term.written for term, side in zip(self._terms, sides, strict=True) if side is None)
        return Stop(Unsettled(tuple(open_terms)))

    def _side(self, term: ObjectiveTerm, level: Mapping[str, float | None]) -> bool | None:
        """Whether the condition is met and would surely be, is missed and would be (False), or open (None)."""
        values = {n: value for n, block in enumerate(self._blocks) if (value := block.get(term.name)) is not None}
        line = fit_series(list(values), list(values.values()))
        if line is None:
            return None
        # A whole level's figure is about the mean of its blocks', which the line has in their middle.
        middle = (max(_ENOUGH_BLOCKS, len(self._blocks)) - 1) / 2
        height, half = line.at(middle), line.unsure(middle, _CONFIDENCE)
        surely = half if term.at_most else -half
        met, met_at_best, met_at_worst = (
            missed(term, value, self._one_stream.get(term.name)) is None
            for value in (level.get(term.name), height - surely, height + surely)
        )
        if met:
            return True if met_at_worst else None
        return None if met_at_best else False
