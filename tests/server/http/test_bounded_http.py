"""What may come of a request before its body, in it and after it, over real connections to uvicorn."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.http import bounded_http
from server.http.bounded_http import HEAD_BYTES, BoundedHttp

FRAME = b"POST /%s HTTP/1.1\r\nHost: x\r\n"
CHUNKED = FRAME + b"Transfer-Encoding: chunked\r\n\r\n"


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Says how much came; /deaf answers without reading."""
    size = 0
    while scope["path"] != "/deaf":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"%d bytes" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def protocols() -> list[BoundedHttp]:
    return []


@pytest.fixture
async def port(protocols: list[BoundedHttp]) -> AsyncIterator[int]:
    config = uvicorn.Config(_app, http=BoundedHttp, lifespan="off", log_config=None)
    config.load()
    state = ServerState()

    def made() -> BoundedHttp:
        protocols.append(BoundedHttp(config, state, {}))
        return protocols[-1]

    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


async def _say(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What the server answers until it hangs up, or for a second after the last byte that it takes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 25)
    said = bytearray()

    async def listen() -> None:
        while data := await reader.read(1 << 16):
            said.extend(data)

    listening = asyncio.create_task(listen())
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        await asyncio.wait({listening}, timeout=0.5)
    except ConnectionError:
        pass
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        writer.transport.abort()
    return bytes(said)


@pytest.mark.parametrize("size", [0, 1, 64 << 10, 65 << 10, 200 << 10, 2 << 20])
@pytest.mark.parametrize("cut", [1 << 30, 1000, 70_000], ids=["at-once", "small", "large"])
async def test_a_body_may_arrive_with_its_head(port: int, size: int, cut: int) -> None:
    whole = FRAME % b"echo" + b"Content-Length: %d\r\n\r\n" % size + bytes(size)
    parts = [whole[at : at + cut] for at in range(0, len(whole), cut)]
    assert (await asyncio.wait_for(_said(port, parts), 20)).endswith(b"%d bytes" % size)


async def _said(port: int, parts: list[bytes]) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = await reader.readuntil(b" bytes")
    writer.close()
    return answer


async def test_requests_one_after_the_other_each_have_their_own_bounds(port: int) -> None:
    big = FRAME % b"echo" + b"X: " + b"x" * (HEAD_BYTES - 200) + b"\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)
    assert (await _say(port, big * 3)).count(b"300000 bytes") == 3


HEADS = {
    "one header": b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES + 1),
    "one header, ended": b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES + 1) + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "the address": b"GET /" + b"x" * (HEAD_BYTES + 1) + b" HTTP/1.1\r\n\r\n",
    "the address, unended": b"GET /" + b"x" * (4 * HEAD_BYTES),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("cut", [1 << 30, 30_000], ids=["at-once", "in-parts"])
async def test_a_head_that_is_too_large_is_answered_and_ended(port: int, head: bytes, cut: int) -> None:
    parts = [head[at : at + cut] for at in range(0, len(head), cut)]
    said = await _say(port, *parts, pause=0.01)
    # What is still on its way when the server hangs up may reset the connection before the answer is read.
    assert said == b"" or said.startswith(b"HTTP/1.1 431")


ENDLESS = {
    "trailers": (b"1\r\nx\r\n0\r\n", b"X-Trailer: " + b"y" * 1000 + b"\r\n"),
    "one trailer": (b"1\r\nx\r\n0\r\nX-Trailer: ", b"y" * 1000),
    "a chunk's extension": (b"1;a=", b"y" * 1000),
}


@pytest.mark.parametrize("path", [b"echo", b"deaf"])
@pytest.mark.parametrize("kind", ENDLESS)
async def test_trailers_and_extensions_do_not_fill_the_memory(
    port: int, protocols: list[BoundedHttp], path: bytes, kind: str
) -> None:
    begin, more = ENDLESS[kind]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(CHUNKED % path + begin)
    taken = 0
    try:
        for _ in range(100):
            writer.write(more * 200)
            await asyncio.wait_for(writer.drain(), 5)
            taken += 200 * len(more)
    except (ConnectionError, TimeoutError):
        pass
    (protocol,) = protocols
    assert protocol.transport.is_closing()
    assert len(protocol.headers) < 10
    assert taken < 20 << 20
    writer.transport.abort()


async def test_a_few_trailers_and_extensions_do_no_harm(port: int) -> None:
    body = b"5;name=value\r\nhello\r\n0\r\nX-Checksum: 1\r\nX-Other: 2\r\n\r\n"
    assert (await _say(port, (CHUNKED % b"echo" + body) * 2)).count(b"5 bytes") == 2


async def test_what_is_left_of_a_body_after_its_answer_has_a_deadline(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_http, "REST_SECONDS", 0.3)
    began = asyncio.get_running_loop().time()
    said = await _say(port, FRAME % b"deaf" + b"Content-Length: 1000000\r\n\r\n", *[b"x"] * 100, pause=0.1)
    assert said.endswith(b"0 bytes")
    assert asyncio.get_running_loop().time() - began < 8


async def test_a_body_that_comes_after_its_answer_is_thrown_away_and_the_connection_goes_on(port: int) -> None:
    early = FRAME % b"deaf" + b"Content-Length: 3000000\r\n\r\n"
    said = await _say(port, early, bytes(3_000_000), FRAME % b"echo" + b"Content-Length: 2\r\n\r\nhi", pause=0.05)
    assert said.endswith(b"2 bytes")


async def test_after_an_answer_the_next_head_has_a_deadline_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(FRAME % b"deaf" + b"Content-Length: 10\r\n\r\n")
    await reader.readuntil(b"0 bytes")
    writer.write(b"0123456789")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
