"""A real server as one of another make: only the published endpoints, without our newer fields, and its streams.

What it answers comes from the server behind it, so that no test believes in figures nobody said.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

_HEALTH = {
    "status": None,
    "timestamp": None,
    "capacity": ("total_slots", "used_slots", "available_slots", "utilization_percent"),
    "gpus": ("total", "with_connections"),
    "performance": ("total_completed_connections", "active_connections"),
}
_GPU = (
    *("gpu_id", "active_connections", "connection_ids"),
    *("total_memory_gb", "allocated_memory_gb", "free_memory_gb", "utilization_percent"),
)
_PERFORMANCE = {
    "total_completed_connections": None,
    "active_connections": None,
    "averages": (
        *("setup_time_ms", "connection_duration_s"),
        *("audio_chunks_per_connection", "transcriptions_per_connection"),
    ),
    "extremes": ("slowest_setup_ms", "fastest_setup_ms"),
}


def _kept(body: dict[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    return {
        key: body[key] if parts is None else {part: body[key][part] for part in parts} for key, parts in shape.items()
    }


def _gpu_status(body: dict[str, Any]) -> dict[str, Any]:
    whole = {key: body[key] for key in ("total_gpus", "total_connections", "max_connections_per_gpu")}
    return whole | {"gpus": [{key: gpu[key] for key in _GPU} for gpu in body["gpus"]]}


PAGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "/health": lambda body: _kept(body, _HEALTH),
    "/gpu-status": _gpu_status,
    "/performance": lambda body: _kept(body, _PERFORMANCE),
}


@asynccontextmanager
async def only_published(port: int, sockets: tuple[str, ...] = ("/ws", "/asr")) -> AsyncIterator[int]:
    """Serve the server at `port` that way; yields the other port. `sockets`: the paths where streams connect."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await _serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as real:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode().partition("?")[0]
                if b"upgrade: websocket" in head.lower() and path in sockets:
                    await _tunnel(head, reader, writer, port)
                    return
                writer.write(await _answer(real, path))
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()


async def _answer(real: httpx.AsyncClient, path: str) -> bytes:
    kind, status, body = "application/json", "404 Not Found", b'{"detail":"Not Found"}'
    if path in PAGES:
        said = (await real.get(path)).json()
        status, body = "200 OK", json.dumps(PAGES[path](said)).encode()
    elif path == "/metrics/prometheus":
        page = (await real.get(path, headers={"Accept": "text/plain"})).text
        lines = [line for line in page.splitlines() if line.startswith("whisperlivekit_")]
        kind, status, body = "text/plain; version=0.0.4", "200 OK", ("\n".join(lines) + "\n").encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _tunnel(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    back, forth = await asyncio.open_connection("127.0.0.1", port)
    forth.write(head)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    await asyncio.gather(pump(reader, forth), pump(back, writer))
