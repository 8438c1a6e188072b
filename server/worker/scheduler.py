"""Which windows are decoded next, and together. Pure: time comes in as an argument.

Earliest deadline first. Where an engine encodes each row with a context of its own, a batch is the most urgent job and
those of the next urgent ones whose contexts are most like its: a decoder goes on until its longest text ends, and
computes every row at the longest context. Else it is the most urgent job and the due jobs that share its audio context,
in order of urgency; room that is left goes to due jobs of a context at least half as long, which are padded: a row more
in a batch costs less than a batch more. Finals go before partials. A partial is due one cadence after the stream's last
text; when more is due than the engine decodes, everybody's deadline slips alike, so the cadence stretches evenly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

CONTEXTS_SECONDS: tuple[float, ...] = (4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0)
"""Audio contexts that windows are padded to: few, so that batches fill. docs/server.md has what each rule costs."""

OWN_CONTEXTS_SECONDS: tuple[float, ...] = tuple(half / 2 for half in range(8, 61))
"""The same where each row has a context of its own: a shorter step computes less silence."""

TAIL_SECONDS = 1.0
"""Silence that every context leaves after the speech, so that Whisper hears its end."""

LOOK_AHEAD = 2
"""Batches of urgent jobs among which a batch finds jobs of like contexts."""
BEHIND_SECONDS = 0.25
"""Jobs that wait so long at the mean are more than the engine can do: half a cadence."""
_NEWEST = 0.1
"""What a job counts for in that mean."""


def contexts_from(least_seconds: float, *, mixed: bool = False) -> tuple[float, ...]:
    """The contexts that are at least so long; the longest is always among them. `mixed`: a batch may have several."""
    all_of_them = OWN_CONTEXTS_SECONDS if mixed else CONTEXTS_SECONDS
    return tuple(c for c in all_of_them if c >= least_seconds) or all_of_them[-1:]


def context_seconds(
    speech_seconds: float, contexts: Sequence[float] = CONTEXTS_SECONDS, tail_seconds: float = TAIL_SECONDS
) -> float:
    """The audio context for a window: the shortest that leaves the tail."""
    return next((c for c in contexts if speech_seconds + tail_seconds <= c), contexts[-1])


@dataclass(frozen=True)
class Job(Generic[T]):
    """A window that could be decoded. Times are seconds of the caller's clock."""

    item: T
    due: float
    final: bool
    context: float
    paced: float = float("-inf")
    """When its audio would have come in real time. Until then it is surplus."""

    @property
    def urgency(self) -> tuple[bool, float]:
        """Sorts the most urgent first."""
        return (not self.final, self.due)


def next_batch(jobs: Iterable[Job[T]], now: float, max_batch: int, *, mixed: bool = False) -> list[Job[T]]:
    """The jobs to decode together now, most urgent first; empty when nothing is due.

    Surplus is decoded when nothing else is due, and a row at a time while others speak: a batch cannot be called back.
    """
    jobs = list(jobs)
    due = sorted((job for job in jobs if job.due <= now >= job.paced), key=lambda job: job.urgency)
    if not due:
        surplus = sorted((job for job in jobs if job.due <= now), key=lambda job: job.paced)
        others = any(job.paced <= now for job in jobs)
        due, max_batch = surplus, 1 if others else max_batch
    if not due or mixed:
        return _alike(due, max_batch)
    context = due[0].context
    alike = [job for job in due if job.context == context]
    padded = [job for job in due if context / 2 <= job.context < context]
    return (alike + padded)[:max_batch]


def _alike(due: Sequence[Job[T]], max_batch: int) -> list[Job[T]]:
    """The first job and those most like it of the next ones, finals before partials; who is left out comes earlier."""
    if len(due) <= max_batch:
        return list(due)
    first, *others = due[: LOOK_AHEAD * max_batch]
    others.sort(key=lambda job: (not job.final, abs(job.context - first.context)))
    return [first, *others[: max_batch - 1]]


class Backlog:
    """Whether the engine has more to do than it can: then work that changes little is left undone."""

    def __init__(self) -> None:
        self._late = 0.0

    def waited(self, seconds: Sequence[float]) -> None:
        """Jobs were taken so long after they were due."""
        for each in seconds:
            self._late += _NEWEST * (max(0.0, each) - self._late)

    @property
    def behind(self) -> bool:
        """Whether jobs wait."""
        return self._late > BEHIND_SECONDS


def next_due(jobs: Iterable[Job[T]]) -> float | None:
    """When the next job becomes due; None without any."""
    return min((job.due for job in jobs), default=None)
