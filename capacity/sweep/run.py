"""A sweep: level after level on one server, each stored as soon as it ended, so that nothing measured is ever lost."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from capacity.load.orders import Progress
from capacity.load.processes import Generators
from capacity.speech.corpus import Corpus
from capacity.sweep.level import LoadShape, Measured, records, run_level, verdict, wall_seconds
from capacity.sweep.objective import Objective
from capacity.sweep.readings import identity
from capacity.sweep.target import Target, reach
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord, SweepRecord
from whisper_ops.history.records import SweepState
from whisper_ops.snapshot import Snapshot


class Watcher(Protocol):
    """Somebody who is told how a sweep goes."""

    def begin(self, streams: int, number: int, of: int | None, seconds: float) -> None:
        """A level begins; it will take about `seconds`."""

    def progress(self, progress: Progress, snapshot: Snapshot | None) -> None:
        """About once a second."""

    def end(self, level: LevelRecord) -> None:
        """A level was judged and stored."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep as it ended, whether it went through or not."""

    sweep_id: int
    sweep: SweepRecord
    levels: tuple[LevelRecord, ...]
    state: SweepState
    reason: str | None
    gone: bool = False
    """Whether it ended because the server could not be reached any more."""
    measured: tuple[Measured, ...] = ()


class Sweep:
    """Runs levels and keeps them. The history is used in a thread, one call at a time."""

    def __init__(
        self,
        history: History,
        target: Target,
        corpus: Corpus,
        shape: LoadShape,
        objective: Objective,
        watcher: Watcher,
    ) -> None:
        self._history = history
        self._target = target
        self._corpus = corpus
        self._shape = shape
        self._objective = objective
        self._watcher = watcher
        self._baseline: dict[str, float | None] = {}
        self._measured: list[Measured] = []
        self._levels: list[LevelRecord] = []

    async def run(self, levels: Sequence[int]) -> Outcome:
        """Measure the given numbers of streams, in this order, one stream first when the objective counts from it.

        A server that dies ends the sweep with what it has; so does cancelling.

        Raises:
            UserError: the server cannot be reached to begin with (exit 3).
        """
        first = await reach(self._target)
        sweep = self._record(first)
        sweep_id = await asyncio.to_thread(self._history.start_sweep, sweep)
        plan = [1, *levels] if self._objective.needs_baseline and 1 not in levels else list(levels)
        state: SweepState = "failed"
        reason: str | None = "the load test broke"
        gone = False
        try:
            async with Generators(self._corpus.folder) as generators:
                state, reason = await self._all(generators, plan, sweep_id)
        except asyncio.CancelledError:
            state, reason = "interrupted", "stopped by Ctrl-C"
        except UserError as error:
            state, reason, gone = "failed", str(error), error.code == Exit.UNREACHABLE
        finally:
            self._history.finish_sweep(sweep_id, state, time.time(), reason)
        ended = msgspec.structs.replace(sweep, state=state, reason=reason, finished_at=time.time())
        return Outcome(
            sweep_id=sweep_id,
            sweep=ended,
            levels=tuple(self._levels),
            state=state,
            reason=reason,
            gone=gone,
            measured=tuple(self._measured),
        )

    async def _all(self, generators: Generators, plan: Sequence[int], sweep_id: int) -> tuple[SweepState, str | None]:
        for number, streams in enumerate(plan, 1):
            self._watcher.begin(streams, number, len(plan), wall_seconds(streams, self._shape))
            measured = await run_level(generators, self._target, self._shape, streams, 0, self._watcher.progress)
            await self._keep(measured, sweep_id)
            if measured.figures.failed:
                await reach(self._target)  # raises when it is gone
        return "done", None

    async def _keep(self, measured: Measured, sweep_id: int) -> LevelRecord:
        if measured.streams == 1 and not self._baseline:
            self._baseline = measured.measures
        judged = verdict(measured, self._objective, self._baseline)
        level, streams = records(measured, judged, sweep_id)
        await asyncio.to_thread(self._history.add_level, level, streams)
        self._measured.append(measured)
        self._levels.append(level)
        self._watcher.end(level)
        return level

    def _record(self, first: Snapshot) -> SweepRecord:
        runs = identity(first)
        return SweepRecord(
            server=self._target.name,
            started_at=time.time(),
            software=runs.software,
            version=runs.version,
            engine=runs.engine,
            model=runs.model,
            compute_type=runs.compute_type,
            max_batch=runs.max_batch,
            gpu_name=runs.gpu_name,
            gpus=first.figures.gpus if first.figures else None,
            simulated=runs.simulated,
            protocol=self._target.protocol,
            chunk_seconds=self._shape.chunk_seconds,
            duty_cycle=self._shape.duty_cycle,
            arrivals=self._shape.arrivals,
            corpus=self._corpus.name,
            objective=self._objective.canonical,
            settings=msgspec.json.encode(self._settings(first)).decode(),
        )

    def _settings(self, first: Snapshot) -> dict[str, Any]:
        memories = [gpu.memory_total_bytes for gpu in first.gpus if gpu.memory_total_bytes is not None]
        return {
            "level_seconds": self._shape.seconds,
            "gpu_memory_total_bytes": min(memories, default=None),
            "slots": first.figures.slots if first.figures else None,
            "slots_per_gpu": first.figures.slots_per_gpu if first.figures else None,
            "host": msgspec.structs.asdict(first.host) if first.host else None,
        }
