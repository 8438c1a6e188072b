"""Keeps a fleet of workers as large as it should be: look, have it decided, act. Its clock is the event loop's."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from server.broker.fleet import Fleet
from server.cluster.scaling import Scaler, ScalingBounds, ScalingSteps, WorkerState
from server.cluster.worker_spec import Description, WorkerSpec
from server.sessions.clock import now
from whisper_ops.formatting import counted

log = logging.getLogger("whisper_ops.cluster")

LOOK_SECONDS = 5.0
"""About what refused clients are told to wait: a client that tries again is counted once a look."""
LEAVE_SECONDS = 3600.0
"""Streams of a worker that is not needed any more may take so long."""
_DEMAND = ("no_capacity", "lagging")
"""Refusals that another worker would have prevented."""


class Workers(Protocol):
    """What runs the workers; see `ray_cluster.RayCluster`. Every call waits."""

    def workers(self) -> dict[str, Description | None]:
        """By name."""

    def add(self, spec: WorkerSpec) -> str:
        """One more."""

    def drain(self, name: str, deadline_seconds: float) -> None:
        """No more streams."""

    def recall(self, name: str) -> None:
        """Streams again."""

    def remove(self, name: str, drain_seconds: float = 0.0) -> None:
        """End it."""


class Controller:
    """See the module. `narrate` is told what changes, a sentence each."""

    def __init__(
        self, cluster: Workers, spec: WorkerSpec, bounds: ScalingBounds, narrate: Callable[[str], None]
    ) -> None:
        self._cluster, self._spec, self._narrate = cluster, spec, narrate
        self._scaler = Scaler(bounds)
        self._states: dict[str, str] = {}
        self._told: dict[str, tuple[str, str | None]] = {}
        """State and error, as they were narrated."""
        self._refused: int | None = None
        self._gone = False

    async def run(self, fleet: Fleet) -> None:
        """Until cancelled, beside the broker of that fleet."""
        while True:
            try:
                await self.look(fleet)
                self._gone = False
            except OSError as error:
                if not self._gone:
                    self._narrate(f"{error}; the workers that are known go on, and none is started or ended")
                self._gone = True
            except Exception:
                log.exception("Looking after the workers failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, fleet: Fleet) -> None:
        """Once.

        Raises:
            OSError: who the workers are cannot be told.
        """
        found = await asyncio.to_thread(self._cluster.workers)
        workers = [self._seen(name, said) for name, said in found.items()]
        self._tell(found, workers)
        await self._act(self._scaler.decide(workers, self._refused_since(fleet), now()))

    def _seen(self, name: str, said: Description | None) -> WorkerState:
        if said is None:
            # Its actor is being started: what its server carries, if there is one, is not known.
            return WorkerState(name, "silent" if self._states.get(name) in ("live", "draining", "silent") else "coming")
        match said.state:
            case "none" | "starting":
                return WorkerState(name, "draining" if said.is_draining else "coming", 0)
            case "live" | "draining" | "silent" as state:
                return WorkerState(name, state, said.streams, said.slots)

    def _refused_since(self, fleet: Fleet) -> int:
        """Streams that were refused since the last look for want of workers, by us and by the workers themselves."""
        totals = fleet.totals.performance([], fleet.refused).rejected_total
        refused = sum(totals.get(reason, 0) for reason in _DEMAND)
        before, self._refused = self._refused, refused
        return max(0, refused - before) if before is not None else 0

    def _tell(self, found: dict[str, Description | None], workers: list[WorkerState]) -> None:
        for worker in workers:
            said = found[worker.name]
            state, error = worker.state, said.error if said is not None else None
            if self._told.get(worker.name) == (state, error):
                continue
            self._told[worker.name] = state, error
            where = f" at {said.url}" if said is not None and said.url else ""
            why = f": {error}" if error else ""
            self._narrate(f"{worker.name} is {state}{where}{why}")
        for name in self._told.keys() - found.keys():
            self._narrate(f"{name} is gone")
            del self._told[name]
        self._states = {worker.name: worker.state for worker in workers}

    async def _act(self, steps: ScalingSteps) -> None:
        if steps.add or steps.drain or steps.recall:
            changes = [(steps.add, "start"), (len(steps.recall), "call back"), (len(steps.drain), "drain")]
            said = ", ".join(f"{what} {counted(count, 'worker')}" for count, what in changes if count)
            self._narrate(f"{said}; {self._scaler.wanted} wanted")
        cluster = self._cluster
        calls: list[Callable[[], object]] = [partial(cluster.recall, name) for name in steps.recall]
        calls += [partial(cluster.remove, name) for name in steps.remove]
        calls += [partial(cluster.drain, name, LEAVE_SECONDS) for name in steps.drain]
        calls += [partial(cluster.add, self._spec)] * steps.add
        # One that cannot be told is asked again at the next look.
        for call in calls:
            try:
                await asyncio.to_thread(call)
            except OSError as error:
                log.warning("Cluster: %s", error)
