"""What becomes of a fleet: how many workers it wants, and which of them go. Nothing here acts, and no clock is read.

The number follows (active + refused + headroom) / slots of a worker. It grows at once, and shrinks only to the most
that was wanted in a while, by the emptiest workers: they take no more streams from then on, and leave when theirs have
ended. While somebody's streams are not known nothing shrinks.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from whisper_ops.scaling_rule import HEADROOM, workers_wanted

SeenState = Literal["coming", "live", "draining", "silent"]


class WorkerState(NamedTuple):
    """A worker as it is seen. `coming`: it has no server that could have streams; `silent`: it does not say."""

    name: str
    state: SeenState
    streams: int | None = None
    """Slots that are in use there; None: not known."""
    slots: int | None = None


@dataclass(frozen=True)
class ScalingBounds:
    """Between how many workers a fleet stays, and how it moves. Times are in seconds."""

    least: int
    most: int
    slots: int
    """Of a worker, until one says how many it has."""
    headroom: float = HEADROOM
    hold_seconds: float = 300.0
    """What was wanted so long ago is still provided for."""


class ScalingSteps(NamedTuple):
    """What to do now. Names are of workers."""

    add: int = 0
    drain: tuple[str, ...] = ()
    recall: tuple[str, ...] = ()
    """Those that were drained for want of streams, and shall take some again."""
    remove: tuple[str, ...] = ()
    """They hold nothing."""


@dataclass
class Scaler:
    """The memory that shrinking needs; `decide` is called once a look."""

    bounds: ScalingBounds
    wanted: int = 0
    """At the newest look."""
    _wants: deque[tuple[float, int]] = field(default_factory=deque)
    _drained: set[str] = field(default_factory=set)
    """Those that an operator drains are not called back."""

    def decide(self, workers: Sequence[WorkerState], refused: int, at: float) -> ScalingSteps:
        """What to do about these workers, when `refused` streams were refused since the last look."""
        working = [worker for worker in workers if worker.state != "draining"]
        draining = [worker for worker in workers if worker.state == "draining"]
        floor = self._look(workers, refused, at)
        self._drained &= {worker.name for worker in workers}
        back = self._recalled(draining, self.wanted - len(working))
        gone = tuple(one.name for one in draining if one.streams == 0 and one.name not in back)
        missing = self.wanted - len(working) - len(back)
        if missing >= 0 or any(worker.state == "silent" for worker in workers):
            return ScalingSteps(add=max(0, missing), recall=back, remove=gone)
        going = sorted(working, key=_emptiness)[: max(0, len(working) - floor)]
        drained = tuple(worker.name for worker in going if worker.state == "live")
        self._drained.update(drained)
        return ScalingSteps(drain=drained, remove=(*gone, *(one.name for one in going if one.state == "coming")))

    def _look(self, workers: Sequence[WorkerState], refused: int, at: float) -> int:
        """Note how many are wanted now; how many stay whatever is wanted."""
        bounds, slots = self.bounds, self._slots(workers)
        # Clients of a worker that drains come back to the others.
        active = sum(worker.streams or 0 for worker in workers)
        wanted = workers_wanted(active, refused, slots, bounds.headroom)
        self.wanted = min(max(wanted, bounds.least), bounds.most)
        self._wants.append((at, self.wanted))
        while self._wants[0][0] < at - bounds.hold_seconds:
            self._wants.popleft()
        live = math.ceil(active / slots)
        return max(live, *(count for _, count in self._wants))

    def _slots(self, workers: Sequence[WorkerState]) -> int:
        known = [worker.slots for worker in workers if worker.slots and worker.state == "live"]
        return max(1, min(known, default=self.bounds.slots))

    def _recalled(self, draining: Sequence[WorkerState], missing: int) -> tuple[str, ...]:
        """Whoever has most streams would leave last, and so comes back first."""
        ours = sorted((one for one in draining if one.name in self._drained), key=lambda one: -(one.streams or 0))
        back = tuple(worker.name for worker in ours[: max(0, missing)])
        self._drained.difference_update(back)
        return back


def _emptiness(worker: WorkerState) -> tuple[bool, int, str]:
    """Those that serve nobody yet go first, then those with the fewest streams."""
    return worker.state != "coming", worker.streams or 0, worker.name
