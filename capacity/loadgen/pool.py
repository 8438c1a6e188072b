"""The generator processes of a load test, seen from the load test."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

import msgspec

from capacity.loadgen.messages import (
    BlockMeasured,
    CorpusRead,
    Finished,
    GeneratorFailed,
    LevelOrder,
    LoadProgress,
    ReadCorpus,
    RunLevel,
    StopLevel,
    Up,
)
from whisper_ops.errors import UserError
from whisper_ops.framing import frame, read_frame

_STOP_SECONDS = 10.0
_decoder = msgspec.msgpack.Decoder(Up)


class Generators:
    """A number of generator processes that hold the same corpus. Use as an async context manager."""

    def __init__(self, folder: Path, count: int = 1, module: str = "capacity.loadgen.worker") -> None:
        self._folder = folder
        self._module = module  # tests put one in that is slow on purpose
        self._wanted = count
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        await self.grow(self._wanted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()

    def __len__(self) -> int:
        return len(self._processes)

    async def grow(self, count: int) -> None:
        """Have at least `count` processes; UserError when one cannot start."""
        fresh = [await self._start() for _ in range(count - len(self._processes))]
        self._processes.extend(fresh)
        for process in fresh:
            _send(process, ReadCorpus(str(self._folder)))
        for process in fresh:
            match await _receive(process):
                case CorpusRead():
                    continue
                case GeneratorFailed(reason):
                    raise UserError(reason)
                case other:
                    raise UserError(f"a load generator did not start: {other!r}")

    async def run(
        self, level: LevelOrder, on_report: Callable[[LoadProgress], None]
    ) -> AsyncGenerator[tuple[int, list[Finished]], None]:
        """Run a level, its streams dealt out among the processes.

        Yields the number and the parts of each block as soon as all processes measured it; a level in one window is one
        block. Closing the generator early ends the streams properly first.
        """
        count = min(len(self._processes), max(1, len(level.streams)))
        used = self._processes[:count]
        latest: dict[int, LoadProgress] = {}
        parts: dict[int, list[Finished]] = {}
        blocks: asyncio.Queue[tuple[int, list[Finished]] | None] = asyncio.Queue()

        def on_message(number: int, message: LoadProgress | BlockMeasured) -> None:
            if isinstance(message, LoadProgress):
                latest[number] = message
                on_report(_sum(list(latest.values())))
                return
            block = parts.setdefault(message.number, [])
            block.append(message.part)
            if len(block) == count:
                blocks.put_nowait((message.number, parts.pop(message.number)))

        for number, process in enumerate(used):
            _send(process, RunLevel(msgspec.structs.replace(level, streams=level.streams[number::count])))
        finishing = asyncio.gather(*(_finished(process, number, on_message) for number, process in enumerate(used)))
        finishing.add_done_callback(lambda _: blocks.put_nowait(None))
        try:
            while (measured := await blocks.get()) is not None:
                yield measured
            last = await finishing  # raises what went wrong
            yield max(part.number for part in last), last
        finally:
            if not finishing.done():
                self.stop()
                await asyncio.wait({finishing}, timeout=_STOP_SECONDS)

    def stop(self) -> None:
        """End the running level early; `run` then yields what was measured until then."""
        for process in self._processes:
            _send(process, StopLevel())

    async def _start(self) -> Process:
        # A session of its own: Ctrl-C is for the load test, which then asks for what was measured.
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, stdin=PIPE, stdout=PIPE, start_new_session=True
        )


def _send(process: Process, message: object) -> None:
    assert process.stdin is not None
    process.stdin.write(frame(msgspec.msgpack.encode(message)))


async def _receive(process: Process) -> Up:
    assert process.stdout is not None
    body = await read_frame(process.stdout)
    return GeneratorFailed("a load generator process ended unexpectedly") if body is None else _decoder.decode(body)


async def _finished(
    process: Process, number: int, on_message: Callable[[int, LoadProgress | BlockMeasured], None]
) -> Finished:
    while True:
        match await _receive(process):
            case Finished() as finished:
                return finished
            case LoadProgress() | BlockMeasured() as message:
                on_message(number, message)
            case GeneratorFailed(reason):
                raise UserError(reason)


def _sum(parts: Sequence[LoadProgress]) -> LoadProgress:
    behind = [p.behind_p50_seconds for p in parts if p.behind_p50_seconds is not None]
    return LoadProgress(
        ready=sum(p.ready for p in parts),
        live=sum(p.live for p in parts),
        ended=sum(p.ended for p in parts),
        failed=sum(p.failed for p in parts),
        texts=sum(p.texts for p in parts),
        behind_p50_seconds=median(behind) if behind else None,
        late_max_seconds=max(p.late_max_seconds for p in parts),
    )
