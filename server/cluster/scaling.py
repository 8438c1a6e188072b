"""How many workers a fleet should have, and which ones to drain. Pure: it neither acts nor reads a clock.

The number is (active + refused + headroom) / slots of a worker. It grows at once. It shrinks to the most that was
wanted during `hold_seconds`: the emptiest workers drain, and are removed when their streams have ended. While a worker
is silent nothing shrinks.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from whisper_ops.scaling_rule import HEADROOM, workers_wanted

ScalingState = Literal["coming", "live", "draining", "silent"]


class WorkerState(NamedTuple):
    """A worker as far as scaling is concerned. `coming`: no server yet, so no streams; `silent`: it does not answer."""

    name: str
    state: ScalingState
    streams: int | None = None
    """Its used slots; None: unknown."""
    slots: int | None = None


@dataclass(frozen=True)
class ScalingBounds:
    """The least and most workers, and how the number follows the load."""

    least: int
    most: int
    slots: int
    """Of a worker, until a live one reports its own."""
    headroom: float = HEADROOM
    hold_seconds: float = 300.0
    """How long the fleet keeps the size that a peak wanted."""


class ScalingSteps(NamedTuple):
    """What to do now, by workers' names."""

    add: int = 0
    drain: tuple[str, ...] = ()
    recall: tuple[str, ...] = ()
    """Workers that scaling drained, and that shall take streams again."""
    remove: tuple[str, ...] = ()
    """Workers without streams."""


@dataclass
class Scaler:
    """Decides step by step; remembers recent sizes and the workers that it drained."""

    bounds: ScalingBounds
    wanted: int = 0
    """At the newest decision."""
    _recently_wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _drained: set[str] = field(default_factory=set)
    """Only these are recalled, not the ones that an operator drained."""

    def decide(self, workers: Sequence[WorkerState], refused: int, at: float) -> ScalingSteps:
        """The next steps; `refused`: streams refused since the last decision; `at`: monotonic seconds."""
        working = [worker for worker in workers if worker.state != "draining"]
        draining = [worker for worker in workers if worker.state == "draining"]
        floor = self._floor(workers, refused, at)
        self._drained &= {worker.name for worker in workers}
        recall = self._to_recall(draining, self.wanted - len(working))
        empty = tuple(one.name for one in draining if one.streams == 0 and one.name not in recall)
        missing = self.wanted - len(working) - len(recall)
        if missing >= 0 or any(worker.state == "silent" for worker in workers):
            return ScalingSteps(add=max(0, missing), recall=recall, remove=empty)
        surplus = sorted(working, key=_emptiness)[: max(0, len(working) - floor)]
        drained = tuple(worker.name for worker in surplus if worker.state == "live")
        self._drained.update(drained)
        return ScalingSteps(drain=drained, remove=(*empty, *(one.name for one in surplus if one.state == "coming")))

    def _floor(self, workers: Sequence[WorkerState], refused: int, at: float) -> int:
        """Update `wanted`; the number of workers that must not be undercut."""
        bounds, slots = self.bounds, self._slots(workers)
        # A draining worker's clients reconnect to the others, so its streams count.
        active = sum(worker.streams or 0 for worker in workers)
        wanted = workers_wanted(active, refused, slots, bounds.headroom)
        self.wanted = min(max(wanted, bounds.least), bounds.most)
        self._recently_wanted.append((at, self.wanted))
        while self._recently_wanted[0][0] < at - bounds.hold_seconds:
            self._recently_wanted.popleft()
        live = math.ceil(active / slots)
        return max(live, *(count for _, count in self._recently_wanted))

    def _slots(self, workers: Sequence[WorkerState]) -> int:
        known = [worker.slots for worker in workers if worker.slots and worker.state == "live"]
        return max(1, min(known, default=self.bounds.slots))

    def _to_recall(self, draining: Sequence[WorkerState], missing: int) -> tuple[str, ...]:
        """The fullest first: it would take longest to drain."""
        ours = sorted((one for one in draining if one.name in self._drained), key=lambda one: -(one.streams or 0))
        recall = tuple(worker.name for worker in ours[: max(0, missing)])
        self._drained.difference_update(recall)
        return recall


def _emptiness(worker: WorkerState) -> tuple[bool, int, str]:
    """A sort key: workers without a server first, then those with the fewest streams."""
    return worker.state != "coming", worker.streams or 0, worker.name
