"""`make bench-server`: what the server promises, measured on this machine. Exit code 1 when a promise is broken.

Real server, real model (tiny.en), real speech; only the tests of thousands of idle connections simulate the engine.
Names as arguments choose parts: throughput, human, overload, idle, noise, full, faults. Load generator and server share
the machine; for the comparison WhisperLive is installed into .venv-peers, and left out where it cannot be.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from capacity.corpus import clips as corpus
from tests.bench import beside
from tests.bench.figure import Figure
from tests.server.speaker import Speaker, longest_loss
from tests.support.servers import Running, running_server

RATE = 16000
ARGUMENTS: tuple[str, ...] = ()
"""Options of every server with a real model; bench_gpu_server.py says which GPU."""


# --- helpers ------------------------------------------------------------------------------------------


def audio(seconds: float, first: int = 0) -> bytes:
    """Whole clips of the corpus with pauses of 0.7 s, silence at the end, as 16-bit samples."""
    clips = corpus.load(corpus.default_folder()).clips
    pause = np.zeros(round(0.7 * RATE), clips[0].samples.dtype)
    joined = np.zeros(round(seconds * RATE), np.int16)
    at = 0
    for i in range(len(clips)):
        samples = clips[(first + i) % len(clips)].samples
        # A word cut in the middle is anybody's guess, and no two runs guess alike.
        if at + len(samples) + len(pause) > len(joined):
            break
        joined[at : at + len(samples)] = samples
        at += len(samples) + len(pause)
    return bytes(joined.tobytes())


def noise(seconds: float) -> bytes:
    """A quiet room: brown noise with a hum and a click now and then, about -45 dBFS."""
    random = np.random.default_rng(7)
    count = round(seconds * RATE)
    brown = np.cumsum(random.normal(size=count))
    brown -= np.convolve(brown, np.ones(800) / 800, "same")
    hum = np.sin(np.arange(count) * 2 * np.pi * 50 / RATE)
    clicks = (random.random(count) < 1e-5) * random.normal(size=count) * 20
    room = brown / np.abs(brown).max() * 0.6 + hum * 0.2 + clicks * 0.02
    return bytes((room * 0.006 * 32767).astype("<i2").tobytes())


def tree(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    return sum(t.user + t.system for t in (p.cpu_times() for p in tree(pid)))


def resident(pid: int) -> int:
    return sum(p.memory_info().rss for p in tree(pid))


def p99(values: list[float]) -> float:
    return float(np.quantile(values, 0.99))


# --- the parts ----------------------------------------------------------------------------------------


def throughput(folder: Path) -> Iterator[Figure]:
    """Streams at p95 stable word latency, beside WhisperLive."""
    yield from beside.throughput(folder, ARGUMENTS)


def human(folder: Path) -> Iterator[Figure]:
    """The same of people who hardly pause, with whole windows beside bounded ones."""
    yield from beside.human(folder, ARGUMENTS)


def overload(folder: Path) -> Iterator[Figure]:
    """More streams of people than are held, and as many as are held again."""
    yield from beside.overload(folder, ARGUMENTS)


def idle(folder: Path) -> Iterator[Figure]:
    """1,000 connections that say nothing."""
    arguments = ("--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "1100")
    with running_server(folder, *arguments, "--idle-timeout", "0") as server:
        yield from asyncio.run(_idle(server))


async def _idle(server: Running) -> list[Figure]:
    async def one() -> Any:
        connection = await connect(server.ws_url, compression=None, ping_interval=None)
        while json.loads(await connection.recv())["type"] != "ready":
            pass
        return connection

    warm = [await one() for _ in range(20)]
    before = resident(server.process.pid)
    connections = [await one() for _ in range(1000)]
    after, cpu, at = resident(server.process.pid), cpu_seconds(server.process.pid), time.monotonic()
    await asyncio.sleep(5)
    busy = (cpu_seconds(server.process.pid) - cpu) / (time.monotonic() - at)
    for connection in [*warm, *connections]:
        connection.transport.abort()
    kib = (after - before) / 1000 / 1024
    return [Figure("1,000 idle connections: memory each", kib, "KiB", 100), Figure("… cores", busy, "")]


def room_noise(folder: Path) -> Iterator[Figure]:
    """200 connected streams of room noise."""
    with running_server(folder, "--max-connections-per-gpu", "200", *ARGUMENTS) as server:
        yield from asyncio.run(_noise(server, 200, 15.0))


async def _noise(server: Running, streams: int, seconds: float) -> list[Figure]:
    sound = noise(seconds + 8)
    speakers = [Speaker(server.ws_url, sound) for _ in range(streams)]
    tasks = [asyncio.create_task(speaker.run()) for speaker in speakers]
    await asyncio.gather(*(speaker.ready() for speaker in speakers))
    await asyncio.sleep(3)
    cpu, at = cpu_seconds(server.process.pid), time.monotonic()
    await asyncio.sleep(seconds)
    busy = (cpu_seconds(server.process.pid) - cpu) / (time.monotonic() - at)
    lag = server.get("/performance")["latency"]["lag_p95_s"]
    await asyncio.gather(*tasks)
    words = sum(len(speaker.words) for speaker in speakers)
    return [
        Figure(f"{streams} streams of room noise: cores", busy, "", 0.75),
        Figure("… p95 lag", lag, "s"),
        Figure("… words invented in all", words),
    ]


def full(folder: Path) -> Iterator[Figure]:
    """All slots busy with speech: what a newcomer waits for."""
    with running_server(folder, "--max-connections-per-gpu", "16", *ARGUMENTS) as server:
        yield from asyncio.run(_full(server))


async def _full(server: Running) -> list[Figure]:
    speakers = [Speaker(server.ws_url, audio(14, i)) for i in range(16)]
    tasks = [asyncio.create_task(speaker.run()) for speaker in speakers]
    await asyncio.gather(*(speaker.ready() for speaker in speakers))
    first, refusal, health = [], [], []
    async with httpx.AsyncClient() as http:
        for _ in range(100):
            began = time.monotonic()
            async with connect(server.ws_url, compression=None) as connection:
                await connection.recv()
                first.append(time.monotonic() - began)
                with suppress(ConnectionClosed):
                    while True:
                        await connection.recv()
                assert connection.close_code == 1013
                refusal.append(time.monotonic() - began)
            began = time.monotonic()
            await http.get(f"{server.url}/health")
            health.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
    await asyncio.gather(*tasks)
    return [
        Figure("16 of 16 slots speaking: first status message, p99", p99(first) * 1e3, "ms", 100),
        Figure("… refusal with its close, p99", p99(refusal) * 1e3, "ms", 100),
        Figure("… /health, p99", p99(health) * 1e3, "ms", 100),
    ]


def faults(folder: Path) -> Iterator[Figure]:
    """8 live streams: unharmed, then with a killed worker, a hung one, dropped clients, a restarted server."""
    sounds = [audio(20, 3 * i) for i in range(8)]
    with running_server(folder, *ARGUMENTS) as server:
        calm = asyncio.run(_harmed(server, sounds, lambda *_: None))
        for name, harm in (("worker killed", _kill), ("worker hung", _hang), ("clients dropped", _drop)):
            hurt = asyncio.run(_harmed(server, sounds, harm))
            yield from compared(name, calm, hurt)
            said = server.wait_until("/health", lambda h: h["capacity"]["used_slots"] == 0)
            yield Figure(f"{name}: slots held afterwards", said["capacity"]["used_slots"], "", 0)
    yield from compared("server restarted", calm, asyncio.run(_restarted(folder, sounds)))
    with running_server(folder, *ARGUMENTS, "--devices", "cpu,cpu") as server:
        yield from compared("crash loop", calm, asyncio.run(_harmed(server, sounds, _crash_loop)))
        said = server.wait_until("/gpu-status", lambda s: s["gpus"][0]["state"] == "failed", 60)
        failed = sum(gpu["state"] == "failed" for gpu in said["gpus"])
        yield Figure("crash loop: devices failed, of 2", failed, "", 1)
        held = server.get("/health")["capacity"]
        yield Figure("crash loop: slots held afterwards", held["used_slots"], "", 0)
        yield Figure("crash loop: slots left", held["total_slots"], "", 16)


Harm = Callable[[Running, list[Speaker]], None]


async def _harmed(server: Running, sounds: list[bytes], harm: Harm) -> list[Speaker]:
    speakers = [Speaker(server.ws_url, sound) for sound in sounds]
    tasks = [asyncio.create_task(speaker.run()) for speaker in speakers]
    await asyncio.sleep(9)
    harm(server, speakers)
    return list(await asyncio.gather(*tasks))


def _worker(server: Running) -> int:
    return int(server.get("/gpu-status")["gpus"][0]["process_id"])


def _kill(server: Running, _: list[Speaker]) -> None:
    os.kill(_worker(server), signal.SIGKILL)


def _hang(server: Running, _: list[Speaker]) -> None:
    os.kill(_worker(server), signal.SIGSTOP)


def _crash_loop(server: Running, _: list[Speaker]) -> None:
    threading.Thread(target=_kill_each, args=[server], daemon=True).start()


def _kill_each(server: Running) -> None:
    """Kill the first device's worker each time it comes, until it comes no more."""
    known: list[int | None] = [None]
    for _ in range(5):
        said = server.wait_until("/gpu-status", lambda s: s["gpus"][0]["process_id"] not in known, 30)
        known.append(int(said["gpus"][0]["process_id"]))
        os.kill(int(said["gpus"][0]["process_id"]), signal.SIGKILL)


def _drop(_: Running, speakers: list[Speaker]) -> None:
    for speaker in speakers:
        speaker.drop()


async def _restarted(folder: Path, sounds: list[bytes]) -> list[Speaker]:
    """Clients that know two replicas by one address: the first dies, the second takes over."""
    with running_server(folder, *ARGUMENTS) as first:
        speakers = [Speaker(first.ws_url, sound) for sound in sounds]
        tasks = [asyncio.create_task(speaker.run()) for speaker in speakers]
        await asyncio.sleep(9)
        first.process.kill()
        first.process.wait()
        again = [sys.executable, "-m", "whisper_ops", "serve", "--port", str(first.port), *ARGUMENTS]
        second = subprocess.Popen(  # noqa: ASYNC220  # it takes a millisecond, once
            again, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            second.terminate()
            second.wait(20)


def compared(name: str, calm: list[Speaker], hurt: list[Speaker]) -> Iterator[Figure]:
    """What a fault cost, over all streams."""
    pairs = [longest_loss(a.words, b.words) for a, b in zip(calm, hurt, strict=True)]
    words = sum(len(speaker.words) for speaker in calm)
    differ = sum(share * len(speaker.words) for (_, share), speaker in zip(pairs, calm, strict=True)) / words
    ended = sum(speaker.done is not None for speaker in hurt)
    spans = [(final["start"], final["end"]) for speaker in hurt for final in speaker.finals]
    repeated = len(spans) - len({*spans}) if len(hurt) == 1 else sum(_overlaps(speaker) for speaker in hurt)
    yield Figure(f"{name}: streams of 8 that came to their end", ended, "", 8, at_least=True)
    yield Figure(f"{name}: longest run of lost words", max(run for run, _ in pairs), "words", 2)
    yield Figure(f"{name}: segments said twice", repeated, "", 0)
    yield Figure(f"{name}: words that differ from the unharmed run", 100 * differ, "%", 2)


def _overlaps(speaker: Speaker) -> int:
    ends = [final["end"] for final in speaker.finals]
    return sum(final["start"] < end - 0.05 for final, end in zip(speaker.finals[1:], ends, strict=False))


PARTS: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "throughput": throughput,
    "human": human,
    "overload": overload,
    "idle": idle,
    "noise": room_noise,
    "full": full,
    "faults": faults,
}


def main(names: list[str]) -> int:
    """Run the parts named, else all."""
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        for name in names or PARTS:
            for figure in PARTS[name](Path(folder)):
                print(figure, flush=True)  # noqa: T201  # the figures are what a benchmark is for
                kept &= figure.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
