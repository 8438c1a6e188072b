"""Runs levels on a server: plain and adaptive ones, soaks and warm-ups, which differ in their `LevelConfig` alone."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from capacity.loadgen.messages import LevelOrder, LoadProgress
from capacity.loadgen.pool import Generators
from capacity.loadtest.audit import LATE_SECONDS
from capacity.loadtest.level import LoadShape, MeasuredLevel, judge_level, make_order, measure_level
from capacity.loadtest.level_config import LevelConfig, configure, warm_up_level
from capacity.loadtest.level_request import LevelRequest
from capacity.loadtest.merge_blocks import merge_blocks
from capacity.loadtest.other_load import OwnCost, generator_cores
from capacity.loadtest.process_watch import ProcessWatch
from capacity.loadtest.samples import Sampler
from capacity.loadtest.stopping import Stop, TextInTime, first_stop
from capacity.loadtest.target import Target
from capacity.loadtest.warm_up import WarmUpResult
from whisper_ops.objective import Objective
from whisper_ops.objective.judgement import Baseline
from whisper_ops.snapshot import Snapshot
from whisper_ops.telemetry.host import whole_cores

STREAMS_A_PROCESS = 300
"""What one generator process holds on one core; measured by `make bench-load` (docs/load-test.md)."""
_IN_TIME_SECONDS = 2.0
"""Text so little behind is in time for a server between levels, unless the objective allows more."""


class RunnerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What all levels of a sweep are run with."""

    target: Target
    shape: LoadShape
    objective: Objective
    progress: Callable[[LoadProgress, Snapshot | None], None]
    note: Callable[[str], None]
    processes: int | None = None
    """Generator processes; None: as many as it takes."""
    watch: tuple[ProcessWatch, ...] = ()


class LevelRunner:
    """Runs levels with generator processes that stay from one to the next."""

    def __init__(self, options: RunnerOptions, generators: Generators) -> None:
        self._options = options
        self._generators = generators

    @classmethod
    @asynccontextmanager
    async def ready(cls, options: RunnerOptions, corpus: Path, module: str) -> AsyncIterator["LevelRunner"]:
        """With the generators that are wanted, until the block is left."""
        async with Generators(corpus, options.processes or 1, module) as generators:
            yield cls(options, generators)

    async def run(
        self, request: LevelRequest, repeats: Callable[[], int], baseline: Baseline
    ) -> AsyncGenerator[tuple[MeasuredLevel, bool], None]:
        """Yield what was measured, and whether it answers the request; of a soak every block.

        It does not where the generator itself was late: the level follows again, with one process more.
        """
        options = self._options
        await self._grow(math.ceil(request.streams / STREAMS_A_PROCESS))
        with self._watching():
            again = True
            while again:
                again = False
                config = configure(request, options.shape, options.objective, baseline, repeats())
                async with aclosing(self._levels(config, baseline)) as levels:
                    async for level in levels:
                        again = config.pooled and self._needs_more_processes(level)
                        yield level, not again
                if again:
                    await self._add_process(level)

    async def warm_up(self, streams: int, seconds: float) -> WarmUpResult:
        """Let streams that are not measured speak until their text comes in time, `seconds` at most."""
        options = self._options
        behind = max(_IN_TIME_SECONDS, options.objective.limit("stable_p95") or 0.0)
        in_time, began = TextInTime(streams, behind), time.monotonic()
        (level,) = [block async for block in self._blocks(warm_up_level(streams, options.shape, seconds, in_time))]
        first = in_time.first_text_seconds
        return WarmUpResult(
            streams=streams,
            seconds=round(time.monotonic() - began, 1),
            text_after_seconds=None if first is None else round(first, 1),
            in_time=in_time.reached,
            let_in=level.figures.connected > 0,
            error=level.counts.first_error,
            wants_token=level.counts.wants_token,
        )

    async def _levels(self, config: LevelConfig, baseline: Baseline) -> AsyncGenerator[MeasuredLevel, None]:
        """The blocks, or all of them as one level that ends when a rule says so."""
        blocks: list[MeasuredLevel] = []
        level: MeasuredLevel | None = None
        async with aclosing(self._blocks(config)) as measured_blocks:
            async for block in measured_blocks:
                if config.blocks is None or not config.pooled:
                    yield block
                    continue
                blocks.append(block)
                # A million words take seconds to put together, and polls and progress go on meanwhile.
                level = await asyncio.to_thread(merge_blocks, tuple(blocks), config.repeat)
                if (stop := self._stop_after(block, level, config, baseline)) is not None:
                    level = msgspec.structs.replace(level, stop=level.stop or stop.finding)
                    break
        if level is not None:
            yield level

    def _stop_after(
        self, block: MeasuredLevel, level: MeasuredLevel, config: LevelConfig, baseline: Baseline
    ) -> Stop | None:
        objective, most = self._options.objective, config.shape.most_other_load
        judged = judge_level(level, objective, baseline, most_other_load=most)
        return first_stop(rule.on_block(block.record(0), judged) for rule in config.rules)

    async def _blocks(self, config: LevelConfig) -> AsyncGenerator[MeasuredLevel, None]:
        """Put the streams on the server; yield each block as soon as it was measured.

        Streams of a level in blocks that end before their time connect again; the block in which they ended counts them
        as failed. Closing the iterator ends the streams. A rule that looks at reports ends the level early, and the
        last block says why.
        """
        order = _order_of(config, self._options.target)
        sampler, own = Sampler(self._options.target), OwnCost()
        stops: list[tuple[float, Stop]] = []

        def on_report(progress: LoadProgress) -> None:
            self._options.progress(progress, sampler.latest)
            stop = first_stop(rule.on_report(progress) for rule in config.rules)
            if stop is not None and not stops:
                stops.append((time.monotonic(), stop))
                self._generators.stop()

        polling = asyncio.create_task(sampler.run())
        try:
            async with aclosing(self._generators.run(order, on_report)) as blocks:
                async for number, parts in blocks:
                    stopped_at, stop = stops[0] if stops else (math.inf, Stop())
                    window = _window(order, number, stopped_at)
                    polls = sampler.between(window.window_from, window.window_until)
                    sampler.forget(window.window_until)
                    cores = own.cores() + generator_cores(parts)
                    yield measure_level(window, parts, polls, config.repeat + number, cores, stop.finding)
        finally:
            polling.cancel()

    def _needs_more_processes(self, level: MeasuredLevel) -> bool:
        late = level.figures.late_p99_seconds or 0.0
        most = min(whole_cores(), level.streams)
        return late > LATE_SECONDS and self._options.processes is None and len(self._generators) < most

    async def _add_process(self, level: MeasuredLevel) -> None:
        late, count = level.figures.late_p99_seconds or 0.0, len(self._generators) + 1
        self._options.note(
            f"the load generator was late ({late * 1e3:.0f} ms at p99); measuring again with {count} processes"
        )
        await self._generators.grow(count)

    async def _grow(self, count: int) -> None:
        if self._options.processes is None:
            await self._generators.grow(count)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        sampling = [asyncio.create_task(watch.run()) for watch in self._options.watch]
        try:
            yield
        finally:
            for task in sampling:
                task.cancel()


def _order_of(config: LevelConfig, target: Target) -> LevelOrder:
    blocks, block_seconds = config.blocks or 1, config.shape.seconds
    whole = msgspec.structs.replace(config.shape, seconds=blocks * block_seconds)
    order = make_order(target, whole, config.streams, config.repeat, time.monotonic())
    return msgspec.structs.replace(order, block_seconds=None if config.blocks is None else block_seconds)


def _window(order: LevelOrder, number: int, stopped_at: float) -> LevelOrder:
    """The order of one block, or of the one window, until the level was stopped."""
    seconds = order.block_seconds or math.inf
    begin = order.window_from + (number * seconds if number else 0.0)
    until = max(begin, min(order.window_until, begin + seconds, stopped_at))
    return msgspec.structs.replace(order, window_from=begin, window_until=until)
