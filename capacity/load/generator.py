"""A generator process: `python -m capacity.load.generator` takes orders on stdin and answers on stdout.

A process of its own, so that the live table, the polls of the server and the measuring of words never disturb the pace.
Frames are four bytes of length and MessagePack. End of stdin ends the process: it never outlives the load test.
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

from capacity.load.orders import Broke, Down, Finished, LevelOrder, Load, Loaded, Progress, Run, Stop, Up
from capacity.load.pace import Wheel
from capacity.load.stream import Speaker
from capacity.speech import corpus as corpora
from capacity.speech.corpus import Corpus
from capacity.speech.normal import normalise
from whisper_ops.errors import UserError

_decoder = msgspec.msgpack.Decoder(Down)


def frame(message: object) -> bytes:
    """A message as it goes through the pipe."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next message's body; None at the end."""
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


class Generator:
    """Runs levels as it is told."""

    def __init__(self, reader: asyncio.StreamReader, write: Callable[[bytes], object]) -> None:
        self._reader = reader
        self._write = write
        self._corpus: Corpus | None = None
        self._running: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Take orders until there are no more."""
        while (body := await read_frame(self._reader)) is not None:
            match _decoder.decode(body):
                case Load(folder):
                    self._load(Path(folder))
                case Run(level):
                    self._running = asyncio.create_task(self._run(level))
                case Stop():
                    if self._running is not None:
                        self._running.cancel()
        if self._running is not None:
            self._running.cancel()

    def _tell(self, message: Up) -> None:
        self._write(frame(message))

    def _load(self, folder: Path) -> None:
        try:
            self._corpus = corpora.load(folder)
        except UserError as error:
            self._tell(Broke(str(error)))
            return
        normalise("the first call builds the tables")
        self._tell(Loaded())

    async def _run(self, level: LevelOrder) -> None:
        assert self._corpus is not None, "a corpus is loaded before a level is run"
        wheel = Wheel()
        turning = asyncio.create_task(wheel.run())
        speakers = [Speaker(order, level, self._corpus, wheel) for order in level.streams]
        lives = [asyncio.create_task(speaker.run()) for speaker in speakers]
        telling = asyncio.create_task(self._report(speakers))
        began, cpu = time.monotonic(), time.process_time()
        gc.freeze()
        gc.disable()  # a full collection with hundreds of streams takes longer than a chunk
        try:
            await asyncio.wait(lives)
        except asyncio.CancelledError:
            for life in lives:
                life.cancel()
            await asyncio.wait(lives)
        finally:
            gc.enable()
            telling.cancel()
            turning.cancel()
        cpu, wall = time.process_time() - cpu, time.monotonic() - began
        results = tuple(life.result()() for life in lives if not life.cancelled())
        self._tell(Finished(results, cpu, wall))

    async def _report(self, speakers: list[Speaker]) -> None:
        while True:
            await asyncio.sleep(1)
            self._tell(_progress(speakers))


def _progress(speakers: Sequence[Speaker]) -> Progress:
    now = time.monotonic()
    behind = [late for s in speakers if (late := s.behind(now)) is not None]
    return Progress(
        ready=sum(s.is_ready for s in speakers),
        live=sum(s.is_live for s in speakers),
        ended=sum(s.is_ready and not s.is_live for s in speakers),
        failed=sum(s.has_failed for s in speakers),
        texts=sum(s.updates for s in speakers),
        behind_p50_seconds=median(behind) if behind else None,
        late_max_seconds=max((s.last_lateness for s in speakers), default=0.0),
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
