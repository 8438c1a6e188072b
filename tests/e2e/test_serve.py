"""A server as a client meets it: slots, spread, refusal, and every endpoint of the contract."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.servers import Running
from whisper_ops import wire

pytestmark = [pytest.mark.speech, pytest.mark.serial]


async def until(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    async with asyncio.timeout(20):
        async for text in client:
            message: dict[str, Any] = json.loads(text)
            if message["type"] == kind:
                return message
    raise AssertionError(f"the stream ended without {kind!r}: {client.close_code} {client.close_reason}")


async def test_four_clients_are_spread_and_the_fifth_is_refused(serve: Callable[..., Running]) -> None:
    server = serve("--devices", "cpu,cpu", "--max-connections-per-gpu", "2")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server.ws_url)) for _ in range(4)]
        gpus = [(await until(client, "ready"))["gpu_id"] for client in clients]
        assert sorted(gpus) == [0, 0, 1, 1]
        status = msgspec.convert(server.get("/gpu-status"), wire.GpuStatus)
        assert [gpu.active_connections for gpu in status.gpus] == [2, 2]
        health = msgspec.convert(server.get("/health"), wire.Health)
        assert (health.status, health.capacity.available_slots) == ("critical", 0)

        fifth = await stack.enter_async_context(connect(server.ws_url))
        refusal = await until(fifth, "error")
        assert (refusal["code"], refusal["message"]) == ("no_capacity", "No GPU resources available")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(fifth.recv(), 10)
        assert fifth.close_code == 1013
        full = await asyncio.to_thread(httpx.get, f"{server.url}/connect")
        assert full.status_code == 503
        assert int(full.headers["Retry-After"]) >= 1
    server.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0)
    performance = msgspec.convert(server.get("/performance"), wire.Performance)
    assert sum(performance.rejected_total.values()) >= 1
    assert performance.active_connections == 0


def test_every_endpoint_answers_as_the_contract_says(serve: Callable[..., Running]) -> None:
    server = serve("--devices", "cpu")
    snapshot = msgspec.convert(server.get("/snapshot"), wire.ServerSnapshot)
    assert snapshot.engine.name == "ctranslate2"
    assert snapshot.gpu_status.gpus[0].temperature_celsius is None, "a CPU has no such reading, and unknown is null"
    assert snapshot.gpu_status.gpus[0].total_memory_gb, "on a CPU memory is the machine's"
    assert server.get("/ping").keys() >= {"vram_used", "vram_total", "gpu_name"}
    assert httpx.get(f"{server.url}/livez").status_code == 200
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    place = msgspec.convert(server.get("/connect"), wire.Connect)
    assert place.ws_url == f"ws://127.0.0.1:{server.port}/ws?ticket={place.ticket}"
    assert place.ticket
    assert "whisper_ops_" in httpx.get(f"{server.url}/metrics").text
    assert "whisperlivekit_gpu_total 1" in httpx.get(f"{server.url}/metrics/prometheus").text
    assert httpx.get(f"{server.url}/docs").status_code == 200
    assert "text/html" in httpx.get(server.url).headers["content-type"]
    assert httpx.put(f"{server.url}/admin/limits", json={"max_connections_per_gpu": 1}).status_code in {401, 403}
