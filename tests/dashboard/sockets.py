"""Real servers on real sockets that answer well, badly, late or not at all."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from ssl import SSLContext

from whisper_ops import wire

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def said(*, at: float | None = None, gpus: int = 2, active: int = 1, completed: int = 3) -> wire.ServerSnapshot:
    """What a small healthy whisper-ops server says."""
    slots, used = gpus * 4, gpus * active
    return wire.ServerSnapshot(
        health=wire.Health(
            status="healthy",
            timestamp=time.time() if at is None else at,
            capacity=wire.SlotCapacity(
                total_slots=slots, used_slots=used, available_slots=slots - used, utilization_percent=used / slots * 100
            ),
            gpus=wire.GpuCount(total=gpus, with_connections=gpus if active else 0),
            performance=wire.HealthPerformance(total_completed_connections=completed, active_connections=used),
        ),
        gpu_status=wire.GpuStatus(
            total_gpus=gpus,
            total_connections=used,
            max_connections_per_gpu=4,
            gpus=tuple(
                wire.GpuEntry(gpu_id=i, active_connections=active, state="ready", gpu_utilization_percent=40.0)
                for i in range(gpus)
            ),
        ),
        performance=wire.Performance(
            total_completed_connections=completed,
            active_connections=used,
            rejected_total={"no_capacity": 1},
            latency=wire.Latency(lag_p95_s=0.4, lag_bucket_counts=(1, 2, 3)),
        ),
        host=wire.Host(cpu_count=2, cpu_ratio=0.25),
        engine=wire.EngineEntry(name="simulated", model="tiny.en", simulated=True),
        version="1.2.3",
    )


def http(body: bytes, *, status: str = "200 OK", kind: str = "application/json", length: int | None = None) -> bytes:
    """One HTTP answer; a `length` beyond the body's promises bytes that never come."""
    promised = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {promised}\r\n\r\n".encode() + body


def answering(make: Callable[[], bytes], requests: list[bytes] | None = None) -> Answer:
    """Answer each request of a connection with what `make` returns, and keep the request's head."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            if requests is not None:
                requests.append(head)
            writer.write(make())
            await writer.drain()

    return answer


def answering_paths(bodies: Mapping[str, bytes], otherwise: bytes) -> Answer:
    """Answer each path with its JSON, and every other one with `otherwise`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            body = bodies.get(head.split()[1].decode())
            writer.write(otherwise if body is None else http(body))
            await writer.drain()

    return answer


def broken_off(answer: bytes) -> Answer:
    """Send `answer` to the first request, then hang up."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return once


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the connection and say nothing until the other side leaves."""
    await reader.read()


@asynccontextmanager
async def listening(
    answer: Answer, *, port: int = 0, tls: SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """Serve `answer`; yields the port."""

    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            connections.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(connections):
            connection.close()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `condition` holds; an AssertionError when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)
