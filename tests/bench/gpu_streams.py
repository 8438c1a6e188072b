"""Live streams against a real worker process: a worker as the server starts it, and this process in the front's place.

Every stream talks in real time, ten frames a second. Its lag is the contract's: audio sent minus audio that a text
covers or that was judged silent.
"""

import asyncio
import math
import os
import socket
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from server import ipc
from tests.bench.gpu_meter import Gpu, Readings, cpu_seconds, narrate, watched

CHUNK_SECONDS = 0.1
TRACK_SECONDS = 120
_RATE = 16000
_PHASES = 10


def talk(seconds: int = TRACK_SECONDS, seed: int = 1) -> bytes:
    """Somebody talks: utterances of 2 to 9 s, pauses of 0.6 to 1.5 s. Of noise, as nobody has to understand it."""
    rng, parts, total = np.random.default_rng(seed), [], 0
    while total < seconds * _RATE:
        spoken, silent = round(rng.uniform(2, 9) * _RATE), round(rng.uniform(0.6, 1.5) * _RATE)
        # Syllables: loud enough throughout for a detector of loudness.
        shape = 0.12 + 0.08 * np.sin(np.arange(spoken) * 2 * np.pi * 4 / _RATE)
        parts += [rng.normal(0, 1, spoken) * shape, np.zeros(silent)]
        total += spoken + silent
    line = np.concatenate(parts)[: seconds * _RATE]
    return (line.clip(-1, 1) * 32767).astype("<i2").tobytes()


@dataclass
class Level:
    """What so many streams got. Times in seconds; shares of one core."""

    engine: str
    streams: int
    seconds: float
    started_at: float = 0.0
    """Of the wall clock."""
    compute_type: str | None = None
    audio_per_second: float | None = None
    """Of all streams: fewer seconds a second than there are streams, and this process did not keep up."""
    lag_p50: float | None = None
    lag_p95: float | None = None
    lag_p99: float | None = None
    texts_per_second: float | None = None
    """Of a stream that speaks."""
    late_p99: float | None = None
    """How late this process was in sending: a level where that is much measures this process."""
    batch_rows: float | None = None
    busy_ratio: float | None = None
    failed_rows: int = 0
    worker_cores: float | None = None
    loop_cores: float | None = None
    """The worker's event loop: what feeds every stream is one thread."""
    front_cores: float | None = None
    gpu_percent: float | None = None
    power_watts: float | None = None
    power_share: float | None = None
    joules_per_audio_hour: float | None = None
    allocated_bytes: float | None = None
    reserved_bytes: float | None = None
    held: bool = False
    why: str = ""
    readings: list[dict[str, float | None]] = field(default_factory=list, repr=False)

    def judge(self, limit_s: float, cadence_s: float) -> "Level":
        """Within the objective or not, and why not."""
        if self.lag_p95 is None or self.lag_p95 > limit_s:
            self.why = f"p95 lag {_said(self.lag_p95)} s is over {limit_s:g} s"
        elif self.texts_per_second is None or self.texts_per_second < 0.9 / cadence_s:
            self.why = f"{_said(self.texts_per_second)} texts a second, fewer than {0.9 / cadence_s:.2g}"
        elif self.failed_rows:
            self.why = f"{self.failed_rows} windows failed"
        self.held = not self.why
        return self

    def row(self) -> dict[str, Any]:
        """For the file."""
        return {name: value for name, value in asdict(self).items() if name != "readings"}


def _said(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


class _Stream:
    __slots__ = ("at", "covered", "number", "sent", "speaking", "texts")

    def __init__(self, number: int, at: int) -> None:
        self.number, self.at = number, at
        self.sent = self.covered = 0.0
        self.texts = 0


class Front:
    """The other end of a worker. Use within its `async with`."""

    def __init__(self, start: ipc.Start, track: bytes, module: str = "server.worker") -> None:
        self._start, self._track, self._module = start, track, module
        self._channel = ipc.Channel(ipc.ToFront, self._hear, self._hang_up)
        self._loaded, self._gone = asyncio.Event(), asyncio.Event()
        self._streams: dict[int, _Stream] = {}
        self._numbers = 0
        self._beats: list[ipc.Heartbeat] = []
        self.said: ipc.Loaded | None = None
        self.broken: str | None = None

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            command = sys.executable, "-m", self._module, str(theirs.fileno()), "text"
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self._process = await asyncio.create_subprocess_exec(
                *command, pass_fds=[theirs.fileno()], env=environment, stdin=asyncio.subprocess.DEVNULL
            )
        await asyncio.get_running_loop().create_connection(lambda: self._channel, sock=ours)
        self._channel.send(self._start)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._channel.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def _hang_up(self) -> None:
        self._gone.set()

    async def loaded(self, seconds: float) -> ipc.Loaded:
        """Wait for the model.

        Raises:
            RuntimeError: the worker cannot load it, or takes too long.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in (self._loaded, self._gone)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self.said is None:
            ended = "the worker ended, see above" if self._gone.is_set() else f"it did not load within {seconds:.0f} s"
            raise RuntimeError(self.broken or ended)
        return self.said

    def _hear(self, message: ipc.Message) -> None:
        match message:
            case ipc.Partial() | ipc.Final():
                if (stream := self._streams.get(message.stream)) is not None:
                    stream.covered = max(stream.covered, message.covered_s)
                    stream.texts += 1
            case ipc.StreamProgress(rows):
                for number, covered_s, _ in rows:
                    if (stream := self._streams.get(number)) is not None:
                        stream.covered = max(stream.covered, covered_s)
            case ipc.Heartbeat():
                self._beats.append(message)
            case ipc.Loaded():
                self.said = message
                self._loaded.set()
            case ipc.Broken(reason):
                self.broken = reason
                self._gone.set()

    # --- a level ------------------------------------------------------------------------------------

    async def level(self, engine: str, count: int, settle_s: float, seconds: float, gpu: Gpu) -> Level:
        """So many streams for a while; nothing is left afterwards."""
        found = Level(engine, count, seconds, time.time(), self.said.compute_type if self.said else None)
        self._streams = {}
        begin = len(self._track) // 2
        for i in range(count):
            self._numbers += 1
            self._streams[self._numbers] = _Stream(self._numbers, (i * 7919 * 512) % begin)
            self._channel.send(ipc.Open(self._numbers, _RATE, "pcm_s16le", "en", False, 0.0, 0))
        lags: list[float] = []
        late: list[float] = []
        talking = asyncio.ensure_future(self._talk(late))
        try:
            await asyncio.sleep(settle_s)
            texts, speaking = sum(s.texts for s in self._streams.values()), 0.0
            sent = sum(s.sent for s in self._streams.values())
            before, own, began = cpu_seconds(self._process.pid), time.process_time(), time.monotonic()
            self._beats.clear()
            late.clear()
            with watched(gpu) as readings:
                while time.monotonic() < began + seconds and not self._gone.is_set():
                    await asyncio.sleep(0.25)
                    lags += [s.sent - s.covered for s in self._streams.values()]
            span = time.monotonic() - began
            found.audio_per_second = (sum(s.sent for s in self._streams.values()) - sent) / span
            after = cpu_seconds(self._process.pid)
            found.front_cores = (time.process_time() - own) / span
            found.worker_cores, found.loop_cores = ((b - a) / span for a, b in zip(before, after, strict=True))
            texts = sum(s.texts for s in self._streams.values()) - texts
            speaking = sum(beat.speaking * beat.span_s for beat in self._beats)
            found.texts_per_second = texts / speaking if speaking else None
            self._figures(found, lags, late, span, readings)
        finally:
            talking.cancel()
            for number in self._streams:
                self._channel.send(ipc.Close(number))
            self._streams = {}
        await asyncio.sleep(0.5)
        return found

    def _figures(self, found: Level, lags: list[float], late: list[float], span: float, readings: Readings) -> None:
        found.lag_p50, found.lag_p95, found.lag_p99 = (_quantile(lags, q) for q in (0.5, 0.95, 0.99))
        found.late_p99 = _quantile(late, 0.99)
        batches = sum(beat.batches for beat in self._beats)
        spans = sum(beat.span_s for beat in self._beats)
        found.batch_rows = sum(beat.rows for beat in self._beats) / batches if batches else None
        found.busy_ratio = sum(beat.busy_s for beat in self._beats) / spans if spans else None
        found.failed_rows = sum(beat.failed_rows for beat in self._beats)
        if self._beats:
            found.allocated_bytes, found.reserved_bytes = self._beats[-1].memory_bytes, self._beats[-1].reserved_bytes
        found.gpu_percent, found.power_watts = readings.mean("utilization_percent"), readings.mean("power_watts")
        limit = readings.mean("power_limit_watts")
        found.power_share = found.power_watts / limit if found.power_watts and limit else None
        joules = readings.first_to_last("energy_joules")
        if joules is None and found.power_watts is not None:
            joules = found.power_watts * span
        found.joules_per_audio_hour = joules / (found.streams * span / 3600) if joules is not None else None
        found.readings = readings.rows
        if self._gone.is_set():
            found.failed_rows += 1

    async def _talk(self, late: list[float]) -> None:
        """Send every stream its next tenth of a second, a tenth of them each hundredth."""
        size, begun, tick = round(CHUNK_SECONDS * _RATE), time.monotonic(), 0
        track, length = self._track, len(self._track) // 2
        streams = list(self._streams.values())
        while True:
            due = begun + tick * CHUNK_SECONDS / _PHASES
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late.append(max(0.0, time.monotonic() - due))
            for stream in streams[tick % _PHASES :: _PHASES]:
                at = stream.at
                data = track[2 * at : 2 * (at + size)]
                if at + size > length:
                    data += track[: 2 * (at + size - length)]
                stream.at = (at + size) % length
                self._channel.send(ipc.AudioMessage(stream.number, data))
                stream.sent += CHUNK_SECONDS
            tick += 1


def _quantile(values: list[float], share: float) -> float | None:
    return sorted(values)[min(len(values) - 1, math.floor(share * len(values)))] if values else None


async def search(
    front: Front, engine: str, start: int, until: float, gpu: Gpu, *, settle_s: float, seconds: float, cadence_s: float
) -> list[Level]:
    """Double until a level is not held, then halve the gap, while there is time for one more level; one in any case."""
    levels: list[Level] = []
    held, lost, count = 0, 0, start
    while not levels or time.monotonic() + settle_s + seconds + 1 < until:
        level = (await front.level(engine, count, settle_s, seconds, gpu)).judge(2.0, cadence_s)
        levels.append(level)
        narrate(line(level))
        held, lost = (max(held, count), lost) if level.held else (held, min(lost or count, count))
        if lost and (lost - held <= max(1, 0.06 * lost) or lost == 1):
            break
        count = (held + lost) // 2 if lost else 2 * count
    return levels


def line(level: Level) -> str:
    """A level, as people read it."""
    parts = [
        f"{level.engine}: {level.streams} streams",
        f"lag p50 {_said(level.lag_p50)} p95 {_said(level.lag_p95)} p99 {_said(level.lag_p99)} s",
        f"{_said(level.texts_per_second)} texts a second",
        f"{_said(level.batch_rows)} rows a batch",
        f"busy {_said(level.busy_ratio)}",
        f"GPU {_said(level.gpu_percent)} % {_said(level.power_watts)} W",
        f"cores: worker {_said(level.worker_cores)} (loop {_said(level.loop_cores)}), front {_said(level.front_cores)}",
        "held" if level.held else f"NOT HELD: {level.why}",
    ]
    return "  " + ", ".join(parts)


def memory_law(levels: list[Level]) -> tuple[float, float] | None:
    """Bytes reserved as base and slope a stream; None where the engine cannot say, or with one level."""
    points = [(level.streams, level.reserved_bytes) for level in levels if level.reserved_bytes is not None]
    if len({streams for streams, _ in points}) < 2:
        return None
    fit = statistics.linear_regression(*zip(*points, strict=True))
    return fit.intercept, fit.slope
