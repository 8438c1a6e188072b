"""Scales the workers of a cluster: every five seconds it reads their reports, decides and acts."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from server.broker.fleet import Fleet
from server.cluster.scaling import Scaler, ScalingBounds, ScalingSteps, WorkerState
from server.cluster.worker_spec import WorkerReport, WorkerSpec
from server.sessions.clock import now
from whisper_ops.formatting import counted

log = logging.getLogger("whisper_ops.cluster")

CHECK_SECONDS = 5.0
"""About the Retry-After of a refusal, so that a client that tries again is counted once per check."""
SCALE_DOWN_DRAIN_SECONDS = 3600.0
"""The drain deadline of a worker that is no longer needed."""
_SCALING_REASONS = ("no_capacity", "lagging")
"""Reasons of refusals that another worker would prevent."""


class Workers(Protocol):
    """`ray_cluster.RayCluster` in production. Calls block, and raise OSError where the cluster does not answer."""

    def workers(self) -> dict[str, WorkerReport | None]: ...

    def add(self, spec: WorkerSpec) -> str: ...

    def drain(self, name: str, deadline_seconds: float) -> None: ...

    def recall(self, name: str) -> None: ...

    def remove(self, name: str, drain_seconds: float = 0.0) -> None: ...


class Controller:
    """`narrate` gets one sentence for each change."""

    def __init__(
        self, cluster: Workers, spec: WorkerSpec, bounds: ScalingBounds, narrate: Callable[[str], None]
    ) -> None:
        self._cluster, self._spec, self._narrate = cluster, spec, narrate
        self._scaler = Scaler(bounds)
        self._states: dict[str, str] = {}
        self._narrated: dict[str, tuple[str, str | None]] = {}
        """By worker: the state and error that were narrated last."""
        self._refused: int | None = None
        self._is_unreachable = False

    async def run(self, fleet: Fleet) -> None:
        """Run until cancelled; `fleet`: the broker's, for its counts of refusals."""
        while True:
            try:
                await self.check(fleet)
                self._is_unreachable = False
            except OSError as error:
                if not self._is_unreachable:
                    self._narrate(f"{error}; known workers go on, none is started or ended")
                self._is_unreachable = True
            except Exception:
                log.exception("Scaling: a check failed")
            await asyncio.sleep(CHECK_SECONDS)

    async def check(self, fleet: Fleet) -> None:
        """Read, decide and act once.

        Raises:
            OSError: the cluster does not list its workers.
        """
        reports = await asyncio.to_thread(self._cluster.workers)
        workers = [self._state_of(name, report) for name, report in reports.items()]
        self._narrate_changes(reports, workers)
        await self._act(self._scaler.decide(workers, self._refused_since(fleet), now()))

    def _state_of(self, name: str, report: WorkerReport | None) -> WorkerState:
        if report is None:
            # Its actor is restarting; a server that it had may still have streams.
            return WorkerState(name, "silent" if self._states.get(name) in ("live", "draining", "silent") else "coming")
        match report.state:
            case "none" | "starting":
                return WorkerState(name, "draining" if report.is_draining else "coming", 0)
            case "live" | "draining" | "silent" as state:
                return WorkerState(name, state, report.streams, report.slots)

    def _refused_since(self, fleet: Fleet) -> int:
        """Streams refused since the last check for lack of workers, by the broker and by the workers."""
        totals = fleet.totals.performance([], fleet.refused).rejected_total
        refused = sum(totals.get(reason, 0) for reason in _SCALING_REASONS)
        before, self._refused = self._refused, refused
        return max(0, refused - before) if before is not None else 0

    def _narrate_changes(self, reports: dict[str, WorkerReport | None], workers: list[WorkerState]) -> None:
        for worker in workers:
            report = reports[worker.name]
            state, error = worker.state, report.error if report is not None else None
            if self._narrated.get(worker.name) == (state, error):
                continue
            self._narrated[worker.name] = state, error
            where = f" at {report.url}" if report is not None and report.url else ""
            why = f": {error}" if error else ""
            self._narrate(f"{worker.name} is {state}{where}{why}")
        for name in self._narrated.keys() - reports.keys():
            self._narrate(f"{name} is gone")
            del self._narrated[name]
        self._states = {worker.name: worker.state for worker in workers}

    async def _act(self, steps: ScalingSteps) -> None:
        if steps.add or steps.drain or steps.recall:
            changes = [(steps.add, "start"), (len(steps.recall), "recall"), (len(steps.drain), "drain")]
            summary = ", ".join(f"{what} {counted(count, 'worker')}" for count, what in changes if count)
            self._narrate(f"{summary}; {self._scaler.wanted} wanted")
        cluster = self._cluster
        calls: list[Callable[[], object]] = [partial(cluster.recall, name) for name in steps.recall]
        calls += [partial(cluster.remove, name) for name in steps.remove]
        calls += [partial(cluster.drain, name, SCALE_DOWN_DRAIN_SECONDS) for name in steps.drain]
        calls += [partial(cluster.add, self._spec)] * steps.add
        # What fails is decided again at the next check.
        for call in calls:
            try:
                await asyncio.to_thread(call)
            except OSError as error:
                log.warning("Cluster: %s", error)
