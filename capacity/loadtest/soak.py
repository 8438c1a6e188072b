"""Holding one number of streams for hours: blocks are windows over streams that stay, each measured on its own."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress

import msgspec

from capacity.loadgen.messages import Finished, LevelOrder, LoadProgress
from capacity.loadgen.pool import Generators
from capacity.loadtest.level import LoadShape, Measured, make_order, measured, stopped_by
from capacity.loadtest.other_load import OwnCost, generator_cores
from capacity.loadtest.samples import Sampler
from capacity.loadtest.stopping import StopRule
from capacity.loadtest.target import Target
from whisper_ops.objective import Objective
from whisper_ops.objective.findings import StoppedEarly
from whisper_ops.snapshot import Snapshot


async def hold(
    generators: Generators,
    target: Target,
    shape: LoadShape,
    streams: int,
    seconds: float,
    objective: Objective,
    on_progress: Callable[[LoadProgress, Snapshot | None], None],
    seed: int = 0,
) -> AsyncGenerator[Measured, None]:
    """Hold `streams` for `seconds` in blocks of `shape.seconds`, each given out as soon as it was measured.

    Streams that end before their time connect again; the block in which they ended counts them as failed. Closing the
    iterator ends the streams. A server that drowns ends it early, and the last block says so.
    """
    blocks = max(1, math.ceil(seconds / shape.seconds - 1e-9))
    whole = msgspec.structs.replace(shape, seconds=blocks * shape.seconds)
    order = make_order(target, whole, streams, seed, time.monotonic())
    order = msgspec.structs.replace(order, block_seconds=shape.seconds)
    sampler, hopeless, own = Sampler(target), StopRule(streams, objective), OwnCost()
    found: asyncio.Queue[Measured | None] = asyncio.Queue()
    stopped: list[StoppedEarly] = []

    def heard(progress: LoadProgress) -> None:
        on_progress(progress, sampler.latest)
        if not stopped and (reason := hopeless.seen(progress)):
            stopped.append(reason)
            generators.stop()

    def piece(number: int, parts: Sequence[Finished]) -> Measured:
        window = _window(order, number)
        polls, cores = sampler.between(window.window_from, window.window_until), own.cores() + generator_cores(parts)
        return measured(window, parts, polls, number, cores)

    def block(number: int, parts: Sequence[Finished]) -> None:
        found.put_nowait(piece(number, parts))
        sampler.forget(_window(order, number).window_until)

    async def run() -> None:
        parts = await generators.run_blocks(order, heard, block)
        last = max(part.number for part in parts)
        found.put_nowait(stopped_by(piece(last, parts), stopped[0] if stopped else None))

    sampling, running = asyncio.create_task(sampler.run()), asyncio.create_task(run())
    running.add_done_callback(lambda _: found.put_nowait(None))
    try:
        while (one := await found.get()) is not None:
            yield one
        await running  # raises what went wrong
    finally:
        sampling.cancel()
        running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await running


def _window(order: LevelOrder, number: int) -> LevelOrder:
    assert order.block_seconds is not None
    begin = order.window_from + number * order.block_seconds
    until = min(order.window_until, begin + order.block_seconds)
    return msgspec.structs.replace(order, window_from=begin, window_until=until)
