"""A generator process: `python -m capacity.loadgen.worker` takes orders on stdin and answers on stdout.

A process of its own, so that the live table, the polls of the server and the measuring of words never disturb the pace.
Frames (`whisper_ops.framing`) hold MessagePack. End of stdin ends the process: it never outstreams the load test.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import msgspec

from capacity.corpus import clips as corpora
from capacity.corpus.clips import Corpus
from capacity.corpus.normalization import normalise
from capacity.loadgen.messages import (
    BlockMeasured,
    CorpusRead,
    Down,
    Finished,
    GeneratorFailed,
    LevelOrder,
    LoadProgress,
    ReadCorpus,
    RunLevel,
    StopLevel,
    StreamResult,
    Up,
)
from capacity.loadgen.pacer import Pacer
from capacity.loadgen.recording import EPSILON_SECONDS, MARGIN_SECONDS
from capacity.loadgen.stream import LoadStream
from capacity.loadgen.stream_slots import StreamSlots
from whisper_ops.errors import UserError
from whisper_ops.framing import frame, read_frame

_LATE_TEXT_SECONDS = 10.0
"""How long the text of a block's last words may take to be counted in it."""
_decoder = msgspec.msgpack.Decoder(Down)


class Generator:
    """Runs levels as it is told."""

    def __init__(self, reader: asyncio.StreamReader, write: Callable[[bytes], object]) -> None:
        self._reader = reader
        self._write = write
        self._corpus: Corpus | None = None
        self._running: asyncio.Task[None] | None = None
        self._measured = 0
        """How many blocks of the level were measured."""

    async def serve(self) -> None:
        """Take orders until there are no more."""
        while (body := await read_frame(self._reader)) is not None:
            match _decoder.decode(body):
                case ReadCorpus(folder):
                    self._load(Path(folder))
                case RunLevel(level):
                    self._running = asyncio.create_task(self._run(level))
                case StopLevel():
                    if self._running is not None:
                        self._running.cancel()
        if self._running is not None:
            self._running.cancel()

    def _send(self, message: Up) -> None:
        self._write(frame(msgspec.msgpack.encode(message)))

    def _load(self, folder: Path) -> None:
        try:
            self._corpus = corpora.load(folder)
        except UserError as error:
            self._send(GeneratorFailed(str(error)))
            return
        normalise("the first call builds the tables")
        self._send(CorpusRead())

    async def _run(self, level: LevelOrder) -> None:
        assert self._corpus is not None, "a corpus is loaded before a level is run"
        self._measured = 0
        pacer = Pacer()
        pacing = asyncio.create_task(pacer.run())
        slots = StreamSlots(level, self._corpus, pacer)
        streams = [asyncio.create_task(slots.hold(order)) for order in level.streams]
        reporting = asyncio.create_task(self._report(slots))
        usage = _Usage()
        blocks = asyncio.create_task(self._blocks(level, slots, usage))
        gc.freeze()
        gc.disable()  # a full collection with hundreds of streams takes longer than a chunk
        try:
            await asyncio.wait(streams)
        except asyncio.CancelledError:
            for stream in streams:
                stream.cancel()
            await asyncio.wait(streams)
        finally:
            gc.enable()
            for task in (reporting, pacing, blocks):
                task.cancel()
        self._send(usage.finished(self._measured, _call_all(slots.measured(self._measured, last=True))))

    async def _blocks(self, level: LevelOrder, slots: StreamSlots, usage: "_Usage") -> None:
        """Measure each block but the last when its text had time to come, while the streams go on."""
        while level.block_seconds and slots.window(self._measured).until < level.window_until - EPSILON_SECONDS:
            until = slots.window(self._measured).until
            await asyncio.sleep(max(0.0, until + min(_LATE_TEXT_SECONDS, level.block_seconds / 2) - time.monotonic()))
            measuring = slots.measured(self._measured, last=False)
            results = await asyncio.to_thread(_call_all, measuring)
            self._send(BlockMeasured(self._measured, usage.finished(self._measured, results)))
            self._measured += 1
            slots.forget(until - MARGIN_SECONDS)
            gc.collect()  # hours without would fill memory; what is frozen is not looked at

    async def _report(self, slots: StreamSlots) -> None:
        while True:
            await asyncio.sleep(1)
            self._send(_progress(slots.current))


class _Usage:
    """CPU and wall time since the block before."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def finished(self, number: int, results: Sequence[StreamResult]) -> Finished:
        """What is told of a block; the next one counts from now."""
        cpu, wall = time.process_time() - self._cpu, time.monotonic() - self._wall
        self._wall, self._cpu = time.monotonic(), time.process_time()
        return Finished(tuple(results), cpu, wall, number)


def _call_all(measuring: Sequence[Callable[[], StreamResult]]) -> list[StreamResult]:
    return [measure() for measure in measuring]


def _progress(streams: Sequence[LoadStream]) -> LoadProgress:
    now = time.monotonic()
    behind = [late for s in streams if (late := s.behind(now)) is not None]
    return LoadProgress(
        ready=sum(s.is_ready for s in streams),
        live=sum(s.is_live for s in streams),
        ended=sum(s.is_ready and not s.is_live for s in streams),
        failed=sum(s.has_failed for s in streams),
        texts=sum(s.updates for s in streams),
        behind_p50_seconds=median(behind) if behind else None,
        late_max_seconds=max((s.last_lateness for s in streams), default=0.0),
    )


async def _main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    # Nothing but frames may reach the pipe.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[out.write(view) :]

    await Generator(reader, write).serve()


if __name__ == "__main__":
    asyncio.run(_main())
