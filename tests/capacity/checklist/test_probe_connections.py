"""What a probe says of how it was taken: let in, refused in each dialect's way, or failed."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve

from capacity.checklist.probe_connections import ProbeConnection
from capacity.loadtest.target import Target, parse_target

READY = json.dumps({"type": "config"})


async def full(connection: ServerConnection) -> None:
    """As WhisperLiveKit's dialect says it: ready to everybody, then an error, then the close code."""
    await connection.send(READY)
    await connection.send(json.dumps({"type": "error", "error": "no room"}))
    await connection.close(1013, "no room")


async def broken(connection: ServerConnection) -> None:
    await connection.send(READY)
    await connection.send(json.dumps({"type": "error", "error": "no model"}))
    await connection.close(1011)


async def open_for_a_while(connection: ServerConnection) -> None:
    await connection.send(READY)
    async for _ in connection:
        break
    await connection.close(1001)


@asynccontextmanager
async def server(handler: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[Target]:
    async with serve(handler, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        yield parse_target(f"ws://127.0.0.1:{port}/asr", "whisperlivekit")


@pytest.mark.parametrize(
    ("handler", "refusal", "fault"), [(full, "no room", None), (broken, None, "no model")], ids=["full", "broken"]
)
async def test_a_refusal_after_the_greeting_is_told_from_a_fault(
    handler: Callable[[ServerConnection], Awaitable[None]], refusal: str | None, fault: str | None
) -> None:
    async with server(handler) as target:
        probe = await ProbeConnection.open(target, 5.0)
        await probe.close()
    assert (probe.refusal, probe.fault, probe.ready_seconds) == (refusal, fault, None)


async def test_a_connection_that_is_cut_while_it_is_held_says_its_age() -> None:
    async with server(open_for_a_while) as target:
        probe = await ProbeConnection.open(target, 5.0)
        assert probe.ready_seconds is not None
        age = await probe.hold(5.0)
        await probe.close()
    assert age is not None
    assert age < 4.0


async def test_a_server_that_is_not_there_is_a_fault() -> None:
    target = msgspec.structs.replace(parse_target("127.0.0.1:9"), protocol="native")
    probe = await ProbeConnection.open(target, 1.0)
    await probe.close()
    assert probe.refusal is None
    assert (probe.fault or "").startswith("cannot connect")
