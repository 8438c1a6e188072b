"""`/connect` of a real server, over real sockets, alone, on RunPod and behind a real nginx."""

import asyncio
import contextlib
import json
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support.programs import nginx, tool
from tests.support.servers import Running, free_port, running_server

FOUR_BY_FOUR = (
    *("--engine", "simulated", "--devices", "sim:4", "--sim-law", "a=0.02,b=0.005"),
    *("--max-connections-per-gpu", "4"),
)
CLIENTS = 16


async def get(url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        return await http.get(url)


async def ready(connection: ClientConnection) -> dict[str, object]:
    async with asyncio.timeout(20):
        async for text in connection:
            said: dict[str, object] = json.loads(text)
            if said["type"] in ("ready", "error"):
                return said
    raise AssertionError("no answer")


async def fill(asked: str, server: Running, reached: str | None, *, at_once: bool) -> None:
    """Sixteen clients ask `asked` and go where they are sent (or to the host `reached`, where that is far away)."""
    async with contextlib.AsyncExitStack() as stack:

        async def ask() -> str:
            answer = await get(f"{asked}/connect")
            answer.raise_for_status()
            parts = urlsplit(answer.json()["ws_url"])
            return str(urlunsplit(parts._replace(scheme="ws", netloc=reached or parts.netloc)))

        async def go(url: str) -> dict[str, object]:
            return await ready(await stack.enter_async_context(connect(url, proxy=None)))

        if at_once:
            urls = await asyncio.gather(*(ask() for _ in range(CLIENTS)))
            said = await asyncio.gather(*map(go, urls))
        else:
            said = [await go(await ask()) for _ in range(CLIENTS)]
        assert [one["type"] for one in said] == ["ready"] * CLIENTS, said
        status = await asyncio.to_thread(server.get, "/gpu-status")
        assert [gpu["active_connections"] for gpu in status["gpus"]] == [4, 4, 4, 4]
        health = await asyncio.to_thread(server.get, "/health")
        assert health["capacity"]["used_slots"] == CLIENTS
        full = await get(f"{asked}/connect")
        assert full.status_code == 503
        assert int(full.headers["retry-after"]) > 0
    await asyncio.to_thread(server.wait_until, "/health", lambda now: now["capacity"]["used_slots"] == 0)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("pod", ["", "abc123"])
def test_sixteen_clients_fill_sixteen_slots_evenly_and_the_next_is_refused(tmp_path: Path, pod: str) -> None:
    environment = {"RUNPOD_POD_ID": pod} if pod else {}
    with running_server(tmp_path, *FOUR_BY_FOUR, environment=environment) as server:
        reached = f"127.0.0.1:{server.port}" if pod else None
        for at_once in (False, True):
            asyncio.run(fill(server.url, server, reached, at_once=at_once))
        performance = server.get("/performance")
        assert performance["tickets_issued_total"] == performance["tickets_used_total"] == 2 * CLIENTS
        exported = httpx.get(f"{server.url}/metrics").text
        assert "whisper_ops_tickets_abandoned_total 0" in exported


@pytest.mark.timeout(90)
@pytest.mark.parametrize("direct", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_same_behind_nginx_with_and_without_a_way_around_it(tmp_path: Path, *, direct: bool) -> None:
    tool("nginx")
    port = free_port()
    around = ("--public-url", f"ws://127.0.0.1:{port}/ws") if direct else ()
    with running_server(tmp_path, *FOUR_BY_FOUR, *around, port=port) as server, nginx(tmp_path, [server]) as proxy:
        for at_once in (False, True):
            asyncio.run(fill(f"http://127.0.0.1:{proxy}", server, None, at_once=at_once))
        issued = server.get("/performance")["tickets_issued_total"]
        assert issued == (2 * CLIENTS if direct else 0), "a ticket may lead to another replica, and so there is none"


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_what_is_refused_or_left_lying_fills_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path, *FOUR_BY_FOUR) as server:
        for _ in range(15):
            assert httpx.get(f"{server.url}/connect?debug=1").status_code == 403
        assert server.get("/health")["capacity"]["used_slots"] == 0
        for _ in range(15):
            assert httpx.get(f"{server.url}/connect").status_code == 200
        health = server.get("/health")
        assert (health["status"], health["capacity"]["used_slots"]) == ("healthy", 1)
        server.wait_until("/health", lambda now: now["capacity"]["used_slots"] == 0, seconds=20)
        assert server.get("/performance")["tickets_abandoned_total"] == 15
