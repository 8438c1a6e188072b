"""Clients that ask `/connect` and go where it says. Through ASGI, with virtual time."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.server.virtual import Client, World

HERE = "http://there:8000"


def asking(world: World, address: str = "127.0.0.1") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(world.app, client=(address, 50000)), base_url=HERE)


async def connect_url(world: World, address: str = "127.0.0.1") -> str:
    async with asking(world, address) as http:
        answer = await http.get("/connect")
    answer.raise_for_status()
    return str(answer.json()["ws_url"])


def going(world: World, ws_url: str, **more: Any) -> Client:
    """A client that goes where `ws_url` says, and does nothing else that it was told."""
    parts = urlsplit(ws_url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return world.client(parts.path, **query, **more)


def counts(world: World) -> tuple[int, int, int]:
    stats = world.hub.counters
    return stats.tickets_issued, stats.tickets_used, stats.tickets_abandoned


async def connect_for(world: World, address: str, **headers: str) -> httpx.Response:
    async with asking(world, "10.9.9.9") as http:
        return await http.post("/connect", json={"address": address}, headers=headers)
