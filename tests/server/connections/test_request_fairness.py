"""What HTTP requests may take of the event loop, over whatever number of connections they come."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import MagicMock

import pytest
from uvicorn.server import ServerState

from server.connections.budgets import ADDRESS_SECONDS, ALL_SECONDS, NewcomerTurns
from server.connections.connection_limits import ConnectionLimits
from server.connections.request_fairness import ESTIMATE_SECONDS, Metered, RequestTurns
from server.http import bounded_http
from server.http.bounded_websocket import BoundedWebSocket
from server.http.http_connections import Config, LimitedHttp

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
COST_SECONDS = 0.004


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """/dear takes processor time; whatever was sent is told by its size."""
    size, message = 0, await receive()
    while message["type"] == "http.request":
        size += len(message["body"])
        if not message["more_body"]:
            break
        message = await receive()
    until = time.thread_time() + (COST_SECONDS if scope["path"] == "/dear" else 0)
    while time.thread_time() < until:
        pass
    body = b"%s of %d" % (scope["path"].encode(), size)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def limits() -> ConnectionLimits:
    return ConnectionLimits()


@pytest.fixture
async def port(limits: ConnectionLimits) -> AsyncIterator[int]:
    config = Config(_app, http=LimitedHttp, lifespan="off", log_config=None, timeout_keep_alive=1)
    config.connection_limits = limits
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    server = await loop.create_server(lambda: LimitedHttp(config, state, {}), "127.0.0.1", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


async def _ask(port: int, data: bytes, answers: int) -> list[bytes]:
    """The bodies, in order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    said = []
    for _ in range(answers):
        head = await reader.readuntil(b"\r\n\r\n")
        said.append(await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split()[0])))
    writer.transport.abort()
    return said


async def _flood(port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(reader.read())
    try:
        while True:
            writer.write(data)
            await writer.drain()
    finally:
        reading.cancel()
        writer.transport.abort()


@pytest.mark.parametrize("connections", [1, 20])
async def test_a_flood_has_its_share_and_a_health_check_is_answered_beside_it(port: int, connections: int) -> None:
    began = time.thread_time()
    floods = [asyncio.create_task(_flood(port, GET % b"dear" * 200)) for _ in range(connections)]
    await asyncio.sleep(0.8)
    spent = time.thread_time() - began
    for _ in range(3):
        assert await asyncio.wait_for(_ask(port, GET % b"health", 1), 60) == [b"/health of 0"]
    for task in floods:
        task.cancel()
    await asyncio.gather(*floods, return_exceptions=True)
    # Beside the requests there are this test's own clients; unbounded, it would be all of the time.
    assert spent < 0.55


async def test_requests_in_one_piece_are_answered_in_order_and_bodies_are_whole(port: int) -> None:
    post = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + bytes(70_000)
    chunked = (
        b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + bytes(2000) + b"\r\n0\r\n\r\n"
    )
    data = (GET % b"g" + post + b"\r\n" + chunked + GET % b"h") * 10
    assert (
        await asyncio.wait_for(_ask(port, data, 40), 20) == [b"/g of 0", b"/p of 70000", b"/c of 2000", b"/h of 0"] * 10
    )


async def test_no_deadline_runs_while_a_request_waits_for_its_turn(
    port: int, limits: ConnectionLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.3)  # uvicorn's own, between requests, is 1 s here
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    rate, at_once = ADDRESS_SECONDS
    # A connection's first request, and one that comes over a connection that was kept.
    for amount in (at_once + 0.5 * rate, 1.3 * rate):
        limits.requests.spend("127.0.0.1", amount)
        writer.write(GET % b"health")
        assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"of 0"), 10)
    writer.close()


async def test_half_a_head_has_its_deadline_all_the_same(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for byte in (GET % b"health")[:-1]:
        if reader.at_eof():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(0.03)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 10)


async def test_what_waiting_requests_brought_is_bounded(
    port: int, limits: ConnectionLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.http.http_connections.MOST_UNREAD_BYTES", 1 << 20)
    limits.requests.spend("127.0.0.1", ADDRESS_SECONDS[1] + 0.5 * ADDRESS_SECONDS[0])
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
    for _, writer in pairs:
        writer.write(GET % b"g" * 4000)
    await asyncio.sleep(0.2)
    assert limits.unread_bytes <= 1 << 20
    assert limits.turned_away > 0
    for _, writer in pairs:
        writer.transport.abort()
    async with asyncio.timeout(10):
        while limits.unread_bytes:  # noqa: ASYNC110  # a figure, not an event
            await asyncio.sleep(0.02)


async def test_who_hangs_up_before_the_upgrade_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    transport = MagicMock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    transport.get_extra_info.side_effect = lambda name, default=None: ("127.0.0.1", 1) if "name" in name else default

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        transport.is_closing.return_value = True  # the end was read, and is not told yet
        try:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "connected"})
        except BaseException as error:
            said.append(type(error).__name__)
            raise

    config = Config(app, ws=BoundedWebSocket, lifespan="off", log_config=None)
    config.load()
    protocol = BoundedWebSocket(config, ServerState(), {})
    protocol.connection_made(transport)
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key)
    await asyncio.gather(*protocol.tasks)
    assert said == ["ClientDisconnected"]
    assert not [record for record in caplog.records if record.exc_info]


# --- the order, without sockets --------------------------------------------------------------------------


def _noted(began: list[str], name: str) -> Callable[[], None]:
    return lambda: began.append(name)


async def _settled(began: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(began) < count:  # noqa: ASYNC110  # nothing else tells
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("late", [0.0, 0.7])
async def test_addresses_take_turns_and_of_their_connections_those_that_were_served_least(late: float) -> None:
    requests, began = RequestTurns(NewcomerTurns()), list[str]()
    requests.spend("10.0.0.1", ADDRESS_SECONDS[1] + 0.05)
    for k in range(3):
        requests.take("10.0.0.1", 5.0, _noted(began, f"flood {k}"), first=False)
    requests.take("10.0.0.1", 0.0, _noted(began, "health"), first=True)
    requests.take("10.0.0.2", 0.0, _noted(began, "other"), first=True)
    assert began == ["other"]
    time.sleep(late)  # noqa: ASYNC251  # a loop that is held up finds more than what was owed paid off
    await _settled(began, 5)
    assert began.index("health") < began.index("flood 0")


async def test_who_asked_for_long_is_not_behind_those_that_begin_to_flood() -> None:
    requests = RequestTurns(NewcomerTurns())
    served, cost = {"poller": 0.0} | {f"flood {k}": 0.0 for k in range(30)}, 0.002
    order: list[str] = []

    def ask(name: str) -> None:
        def begin() -> None:
            order.append(name)
            served[name] += cost
            requests.spend("10.0.0.1", cost - ESTIMATE_SECONDS)

        served[name] = requests.served("10.0.0.1", served[name])
        requests.take("10.0.0.1", served[name], begin, first=False)

    for _ in range(50):
        ask("poller")
    await _settled(order, 50)
    order.clear()
    for name in list(served)[1:] * 3:
        ask(name)
    ask("poller")
    await _settled(order, 91)
    assert order.index("poller") <= 31, "no later than one request of each"


async def test_who_comes_asks_once_and_goes_is_not_before_those_that_stay() -> None:
    requests, order, served = RequestTurns(NewcomerTurns()), list[str](), 0.002
    requests.spend("10.0.0.1", ADDRESS_SECONDS[1] + 0.001)

    def newcomer() -> None:
        """Another takes its place, with nothing served: as long as nobody else has had a turn."""
        order.append("newcomer")
        requests.spend("10.0.0.1", ESTIMATE_SECONDS)
        if "health" not in order and len(order) < 300:
            requests.take("10.0.0.1", 0.0, newcomer, first=True)

    for _ in range(5):
        requests.take("10.0.0.1", 0.0, newcomer, first=True)
    requests.take("10.0.0.1", served, _noted(order, "health"), first=False)
    async with asyncio.timeout(20):
        while "health" not in order and len(order) < 300:  # noqa: ASYNC110  # nothing else tells
            await asyncio.sleep(0.01)
    assert "health" in order[:60]


async def test_many_addresses_share_what_there_is_for_all() -> None:
    requests, began = RequestTurns(NewcomerTurns()), list[str]()
    at_once = round(ALL_SECONDS[1] / ESTIMATE_SECONDS)
    for k in range(at_once + 100):
        requests.take(f"10.0.{k // 250}.{k % 250}", 0.0, _noted(began, "x"), first=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(began) <= at_once + 1
    await _settled(began, at_once + 100)


async def test_addresses_are_not_remembered_without_end() -> None:
    requests = RequestTurns(NewcomerTurns())
    for k in range(10_000):
        requests.spend(f"10.0.{k // 250}.{k % 250}", 0.1)
    assert len(requests._networks) <= 4096


async def test_metered_work_is_what_it_would_be_unmetered() -> None:
    spent: list[float] = []

    async def work(fails: bool) -> None:
        await asyncio.sleep(0.01)
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        if fails:
            raise ValueError("said")
        await asyncio.sleep(60)

    async def metered(fails: bool) -> None:
        await Metered(work(fails), spent.append)

    with pytest.raises(ValueError, match="said"):
        await metered(fails=True)
    assert 0.01 <= sum(spent) < 0.5
    task = asyncio.create_task(metered(fails=False))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
