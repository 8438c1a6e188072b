"""A broker over several whole servers, all in one event loop whose time jumps: what one answers the others read."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from server.broker.broker_app import make_app
from server.broker.broker_settings import BrokerSettings
from server.broker.fleet import Fleet
from server.broker.member import FleetMember
from server.broker.membership import MemberAddress, Membership
from tests.server.virtual import Client, World

Answer = Callable[[httpx.Request], httpx.Response | None]


def _truth(_: httpx.Request) -> httpx.Response | None:
    return None


class ScriptedMembers(Membership):
    """A source of members that a test changes."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.error: OSError | None = None

    async def find(self) -> list[MemberAddress]:
        if self.error is not None:
            raise self.error
        return [MemberAddress(urlsplit(url).netloc, url) for url in self.urls]


class _Bytes(httpx.AsyncByteStream):
    """A body that comes as one from a socket does."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


class Wires(httpx.AsyncBaseTransport):
    """The network between brokers and members: it may be cut, hang, or answer for a member that lies."""

    def __init__(self) -> None:
        self.apps: dict[str, httpx.ASGITransport] = {}
        self.dead: set[str] = set()
        self.hung: set[str] = set()
        self.lies: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.netloc.decode()
        self.asked.append((name, request.method, request.url.path))
        if name in self.dead:
            raise httpx.ConnectError("Connection refused")
        if name in self.hung:
            await asyncio.sleep(3600)
        if (lie := self.lies.get(name, _truth)(request)) is not None:
            await asyncio.sleep(0.001)
            return httpx.Response(lie.status_code, stream=_Bytes(lie.content))
        await asyncio.sleep(0.001)
        return await self.apps[name].handle_async_request(request)


class FleetWorld:
    """`slots` of each member's GPUs; a member of this many GPUs each."""

    def __init__(self, gpus: list[int], slots: int = 2, brokers: int = 1, **settings: Any) -> None:
        self.worlds = [World(count, max_connections_per_gpu=slots) for count in gpus]
        self.names = [f"127.0.0.1:{9000 + number}" for number in range(len(gpus))]
        self.wires = Wires()
        for name, world in zip(self.names, self.worlds, strict=True):
            self.wires.apps[name] = httpx.ASGITransport(world.app, client=("10.9.9.9", 4000))
        self.membership = ScriptedMembers([f"http://{name}" for name in self.names])
        self.settings = BrokerSettings(members=(), **{"interval_seconds": 1.0, "deadline_seconds": 2.0, **settings})
        self.fleets = [Fleet(self.settings, self.membership, self.member) for _ in range(brokers)]
        self._tasks: list[asyncio.Task[None]] = []

    def member(self, address: MemberAddress, settings: BrokerSettings, broker_id: str) -> FleetMember:
        return FleetMember(address, settings, broker_id, self.wires)

    @property
    def fleet(self) -> Fleet:
        return self.fleets[0]

    async def ready(self) -> "FleetWorld":
        for world in self.worlds:
            await world.ready()
        for fleet in self.fleets:
            self._tasks.append(asyncio.create_task(fleet.run()))
        await asyncio.sleep(0.5)
        return self

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for world in self.worlds:
            await world.close()

    def asking(self, address: str = "10.0.0.1", broker: int = 0) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(make_app(self.fleets[broker]), client=(address, 50000))
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")

    async def connect(self, address: str = "10.0.0.1", broker: int = 0) -> httpx.Response:
        async with self.asking(address, broker) as http:
            return await http.get("/connect")

    def world_of(self, ws_url: str) -> World:
        return self.worlds[self.names.index(urlsplit(ws_url).netloc)]

    def going(self, ws_url: str, **more: Any) -> Client:
        parts = urlsplit(ws_url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return self.world_of(ws_url).client(parts.path, **query, **more)

    @property
    def used(self) -> list[int]:
        return [world.hub.slots.used for world in self.worlds]
