"""A fleet that never was: what 100 servers of 8 busy GPUs would say, with figures as uneven as real ones."""

import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import msgspec

from whisper_ops import wire
from whisper_ops.histogram import BUCKETS
from whisper_ops.snapshot import Snapshot, from_wire

SERVERS = 100
GPUS = 8


def said(chance: random.Random, counted: list[int], at: float) -> wire.ServerSnapshot:
    """One answer of one server; `counted` are its lag buckets, which grow."""
    for _ in range(6):
        counted[chance.randint(3, 18)] += chance.randint(1, 60)
    gpus = tuple(_gpu(chance, i) for i in range(GPUS))
    active = sum(gpu.active_connections for gpu in gpus)
    slots = GPUS * 24
    return wire.ServerSnapshot(
        health=wire.Health(
            status="healthy",
            timestamp=at,
            capacity=wire.SlotCapacity(
                total_slots=slots, used_slots=active, available_slots=slots - active, utilization_percent=50.0
            ),
            gpus=wire.GpuCount(total=GPUS, with_connections=GPUS),
            performance=wire.HealthPerformance(total_completed_connections=91_234, active_connections=active),
        ),
        gpu_status=wire.GpuStatus(
            total_gpus=GPUS, total_connections=active, max_connections_per_gpu=24, gpus=gpus
        ),
        performance=wire.Performance(
            total_completed_connections=91_234 + int(at) % 9999,
            active_connections=active,
            accepted_total=92_345 + int(at) % 9999,
            averages=wire.Averages(setup_time_ms=chance.uniform(200, 400)),
            extremes=wire.Extremes(slowest_setup_ms=1234.5, fastest_setup_ms=101.25),
            latency=wire.Latency(
                lag_p50_s=chance.random(), lag_p95_s=chance.random(), lag_p99_s=chance.random(),
                final_p50_s=chance.random(), final_p95_s=chance.random(), partial_interval_s=chance.random(),
                lag_bucket_counts=tuple(counted), final_bucket_counts=tuple(n // 9 for n in counted),
            ),
            rejected_total={"no_capacity": 17},
        ),
        host=wire.Host(
            hostname="asr-fra-01", cpu_count=64, cpu_ratio=chance.random(), load_1m=chance.uniform(0, 60),
            memory_total_bytes=512_000_000_000, memory_available_bytes=chance.randint(10**11, 4 * 10**11),
            front_cpu_ratio=chance.random(), process_rss_bytes=chance.randint(10**10, 6 * 10**10),
            process_cpu_ratio=chance.uniform(1, 20), open_descriptors=chance.randint(300, 900),
            descriptors_soft_limit=65536, descriptors_hard_limit=65536, sockets=chance.randint(300, 900),
            threads=chance.randint(80, 120), tasks_max=9999, somaxconn=4096, syn_backlog=4096, port_range_low=32768,
            port_range_high=60999, conntrack_max=262144, network_receive_bytes_per_second=chance.uniform(0, 9e6),
            network_send_bytes_per_second=chance.uniform(0, 9e5),
        ),
        engine=wire.EngineEntry(name="ctranslate2", model="large-v3-turbo", compute_type="float16", max_batch=16),
        version="1.2.0",
        started_at=1.79e9,
    )  # fmt: skip


def _gpu(chance: random.Random, gpu_id: int) -> wire.GpuEntry:
    return wire.GpuEntry(
        gpu_id=gpu_id, active_connections=chance.randint(4, 24), total_memory_gb=85.0,
        allocated_memory_gb=chance.uniform(12, 20), name="NVIDIA H100 80GB HBM3", uuid=f"GPU-{gpu_id:032x}",
        device=f"cuda:{gpu_id}", state="ready", gpu_utilization_percent=float(chance.randint(0, 100)),
        temperature_celsius=float(chance.randint(45, 80)), power_watts=chance.randint(90_000, 700_000) / 1000,
        power_limit_watts=700.0, sm_clock_hertz=chance.randint(1200, 1980) * 1e6, throttle_reasons=(), ecc_errors=0,
        reading_age_seconds=chance.random(), max_connections=24, speaking_streams=chance.randint(0, 20),
        batch_fill_mean=chance.uniform(1, 16), queue_wait_seconds_p95=chance.random(),
        compute_seconds_p95=chance.random(), busy_ratio=chance.random(),
        audio_seconds_per_second=chance.uniform(1, 24), lag_seconds_p95=chance.random(), restarts=0,
        process_rss_bytes=chance.randint(10**9, 4 * 10**9), process_cpu_ratio=chance.random(),
    )  # fmt: skip


def polls(ticks: int, interval: float, *, servers: int = SERVERS, start: float = 1.79e9) -> Iterator[list[Snapshot]]:
    """What a recorder polls: a list of snapshots a tick."""
    chance = random.Random(1)
    counted = [[0] * BUCKETS for _ in range(servers)]
    before: list[wire.ServerSnapshot | None] = [None] * servers
    for tick in range(ticks):
        batch: list[Snapshot] = []
        for server in range(servers):
            at = start + tick * interval + chance.random() * min(interval, 1.0) / 2
            now = said(chance, counted[server], at)
            batch.append(from_wire(f"asr-{server}:8000", at, chance.random() / 50, now, before[server]))
            before[server] = now
        yield batch


@contextmanager
def answering() -> Iterator[int]:
    """A process of its own that answers GET /snapshot on a port of 127.0.0.1 as such a server does; yields the port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_answer, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _answer(ready: Connection) -> None:
    chance, counted = random.Random(2), [0] * BUCKETS
    bodies = [msgspec.json.encode(said(chance, counted, time.time())) for _ in range(50)]
    answers = [
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies
    ]

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(chance.choice(answers))
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(connection, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
