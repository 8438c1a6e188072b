"""How a level is put on the server: in one piece, held until its answer is known, or in blocks for hours."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from capacity.loadgen.messages import LoadProgress
from capacity.loadgen.pool import Generators
from capacity.loadtest.adaptive_level import LEAST_BLOCKS, MOST_BLOCKS, KnownAnswer, together
from capacity.loadtest.audit import LATE_SECONDS
from capacity.loadtest.level import LoadShape, Measured, run_level, verdict, wall_seconds
from capacity.loadtest.process_watch import ProcessWatch
from capacity.loadtest.soak import hold
from capacity.loadtest.strategies import LevelRequest, Strategy
from capacity.loadtest.target import Target
from capacity.loadtest.time_estimates import BETWEEN_SECONDS, USUAL_BLOCKS, WARM_UP_SECONDS
from capacity.loadtest.warm_up import WarmUpResult, probe
from whisper_ops.objective import Objective
from whisper_ops.objective.judgement import Baseline, is_evidence
from whisper_ops.snapshot import Snapshot
from whisper_ops.telemetry.host import whole_cores

STREAMS_A_PROCESS = 300
"""What one generator process holds on one core; see docs/load-test.md."""
_IN_TIME_SECONDS = 2.0
"""Text so little behind is in time for a server between levels, unless the objective allows more."""


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What levels are measured with."""

    target: Target
    shape: LoadShape
    objective: Objective
    progress: Callable[[LoadProgress, Snapshot | None], None]
    note: Callable[[str], None]
    processes: int | None = None
    """Generator processes; None: as many as it takes."""
    watch: tuple[ProcessWatch, ...] = ()


class Measurer:
    """Measures levels with generator processes that stay from one to the next."""

    def __init__(self, means: Means, generators: Generators) -> None:
        self._means = means
        self._generators = generators

    @classmethod
    @asynccontextmanager
    async def ready(cls, means: Means, corpus: Path, module: str) -> AsyncIterator["Measurer"]:
        """With the generators that are wanted, until the block is left."""
        async with Generators(corpus, means.processes or 1, module) as generators:
            yield cls(means, generators)

    async def measure(
        self, ask: LevelRequest, repeats: Callable[[], int], baseline: Baseline
    ) -> AsyncGenerator[tuple[Measured, bool], None]:
        """Yield what was measured, and whether it answers what was asked.

        It does not where the generator itself was late: the level follows again, with one process more.
        """
        await self._grow(math.ceil(ask.streams / STREAMS_A_PROCESS))
        with self._watching():
            if ask.hold_seconds is not None:
                async with aclosing(self._blocks(ask.streams, ask.hold_seconds, 0)) as blocks:
                    async for block in blocks:
                        yield block, True
                return
            while True:
                measured = await self._level(ask, repeats(), baseline)
                if not self._more_would_help(measured):
                    yield measured, True
                    return
                yield measured, False
                late, count = measured.figures.late_p99_seconds or 0.0, len(self._generators) + 1
                self._means.note(
                    f"the load generator was late ({late * 1e3:.0f} ms at p99); measuring again with {count} processes"
                )
                await self._generators.grow(count)

    async def probe(self, streams: int, seconds: float) -> WarmUpResult:
        """Let streams that are not measured speak until their text comes in time."""
        means = self._means
        behind = max(_IN_TIME_SECONDS, means.objective.limit("stable_p95") or 0.0)
        return await probe(
            self._generators, means.target, means.shape, streams, behind, means.progress, at_most_seconds=seconds
        )

    async def _level(self, ask: LevelRequest, repeat: int, baseline: Baseline) -> Measured:
        means = self._means
        if ask.long:
            return await self._held(ask.streams, repeat, baseline)
        shape = msgspec.structs.replace(means.shape, seconds=seconds_of(ask, means.shape))
        return await run_level(
            self._generators, means.target, shape, ask.streams, repeat, means.objective, means.progress
        )

    async def _held(self, streams: int, repeat: int, baseline: Baseline) -> Measured:
        """Until nothing more is to be learnt."""
        objective, known = self._means.objective, KnownAnswer(self._means.objective, baseline.measures)
        blocks: list[Measured] = []
        whole: Measured | None = None
        async with aclosing(self._blocks(streams, MOST_BLOCKS * self._means.shape.seconds, repeat)) as held:
            async for block in held:
                blocks.append(block)
                # A million words take seconds to put together, and polls and progress go on meanwhile.
                whole = await asyncio.to_thread(together, tuple(blocks), repeat)
                judged = verdict(whole, objective, baseline, most_other_load=self._means.shape.most_other_load)
                # Text that does not come, or streams that are not there, will not be mended by more of the same.
                broken = not is_evidence(judged.audit) and len(blocks) >= LEAST_BLOCKS
                if known.seen(block.measures, whole.measures) or broken or judged.passed is None:
                    break
        assert whole is not None, "a level has an ending, whatever befell it"
        return msgspec.structs.replace(whole, doubt=known.doubt)

    def _blocks(self, streams: int, seconds: float, seed: int) -> AsyncGenerator[Measured, None]:
        means = self._means
        return hold(
            self._generators, means.target, means.shape, streams, seconds, means.objective, means.progress, seed
        )

    def _more_would_help(self, measured: Measured) -> bool:
        late = measured.figures.late_p99_seconds or 0.0
        most = min(whole_cores(), measured.streams)
        return late > LATE_SECONDS and self._means.processes is None and len(self._generators) < most

    async def _grow(self, count: int) -> None:
        if self._means.processes is None:
            await self._generators.grow(count)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        sampling = [asyncio.create_task(watch.run()) for watch in self._means.watch]
        try:
            yield
        finally:
            for task in sampling:
                task.cancel()


def seconds_of(ask: LevelRequest, shape: LoadShape) -> float:
    """How long the streams of a level are live, at most."""
    if ask.hold_seconds is not None:
        return ask.hold_seconds
    return min(shape.seconds * (MOST_BLOCKS if ask.long else 1), ask.at_most_seconds or math.inf)


def expected_seconds(plan: Strategy, shape: LoadShape, *, warm_up: bool = False) -> float:
    """How long the rest of a sweep takes, about; with `warm_up` before its first level."""
    total = WARM_UP_SECONDS if warm_up and shape.warm_up_seconds else 0.0
    for ask in plan.expected:
        seconds = shape.seconds * USUAL_BLOCKS if ask.long else seconds_of(ask, shape)
        total += wall_seconds(ask.streams, msgspec.structs.replace(shape, seconds=seconds)) + BETWEEN_SECONDS
    return total
