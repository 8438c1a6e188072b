"""What clients do to the log: they leave early, they say what looks like a line of it, and nobody reads it."""

import asyncio
import io
import json
import logging
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from server import logs
from tests.support.servers import Running, free_port, running_server
from whisper_ops.line_writer import LineWriter

SIMULATED = ("--engine", "simulated", "--devices", "sim:2")
PATHS = ("/ws", "/asr", "/v1/realtime", "/", "/ws?ticket=x")
HOSTILE = "x\r\n2026-01-01T00:00:00Z CRITICAL all is lost\x1b]0;owned\x07\u202egpj\x9b31m\u2028y"


async def abort(url: str, said: str | bytes, seconds: float) -> None:
    """Connect, say something, wait for a word, and drop the connection without a close frame."""
    with suppress(OSError, WebSocketException):
        client = await connect(url, compression=None, ping_interval=None)
        with suppress(WebSocketException, TimeoutError):
            if said:
                await client.send(said)
            if seconds:
                await asyncio.wait_for(client.recv(), seconds)
        client.transport.abort()


async def close(url: str, code: int) -> None:
    with suppress(OSError, WebSocketException):
        async with connect(url, compression=None, close_timeout=2) as client:
            await client.send(bytes(3200))
            await client.close(code)


def handshake(port: int, path: str, after: bytes = b"", *, linger: bool) -> None:
    """A handshake of which the answer is never read; `linger`: the connection is reset at once."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    reset(port, request.encode(), after, linger=linger)


def reset(port: int, request: bytes, after: bytes = b"", *, linger: bool) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        if linger:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(request)
        if after:
            time.sleep(0.02)
            with suppress(OSError):
                client.sendall(after)


def _batches(works: list[Coroutine[Any, Any, None]], size: int) -> Iterator[list[Coroutine[Any, Any, None]]]:
    return (works[at : at + size] for at in range(0, len(works), size))


def leave_in_every_way(server: Running) -> int:
    """Returns how many clients there were."""
    url, port, count = f"ws://127.0.0.1:{server.port}", server.port, 0

    async def sockets() -> int:
        aborts = [
            abort(url + path, said, seconds)
            for path in PATHS
            for seconds in (0.0, 0.3)
            for said in ("", bytes(3200), "junk", '{"type":"end"}', '{"uid":"a"}')
        ]
        closes = [close(url + path, code) for path in PATHS for code in (1000, 1001, 1011)]
        for works in _batches([*aborts, *closes], 16):
            await asyncio.gather(*works)
        return len(aborts) + len(closes)

    count += asyncio.run(sockets())
    upload = (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; name=file; filename=a.wav\r\n\r\nxx"
    )
    for linger in (True, False):
        for path in PATHS:
            handshake(port, path, linger=linger)
            handshake(port, path, b"\x82\x7f\xff", linger=linger)
            handshake(port, path, b"\x88\x80abcd", linger=linger)
            count += 3
        for head in (upload, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /snapshot HTTP/1.1\r\nHost: x\r\n\r\n"):
            reset(port, head, linger=linger)
            count += 1
    return count


@pytest.mark.slow
def test_a_client_that_leaves_early_costs_a_few_lines_and_no_traceback(tmp_path: Path) -> None:
    with running_server(tmp_path, *SIMULATED) as server:
        clients = leave_in_every_way(server)
        server.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0, 30)
        log = server.log.read_text("utf-8")
    assert "Traceback" not in log
    assert not re.findall(r"^\S+Z (?:ERROR|CRITICAL) .*$", log, re.MULTILINE)
    assert len(log) < 1000 * clients


@contextmanager
def unread(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A command whose stderr nobody reads."""
    command = [sys.executable, "-m", "whisper_ops", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_log_that_nobody_reads_holds_up_neither_streams_nor_the_end() -> None:
    port = free_port()
    with unread("serve", *SIMULATED, "--port", str(port)) as process:
        url = f"http://127.0.0.1:{port}"
        until(lambda: httpx.get(f"{url}/readyz", timeout=2).status_code == 200)

        async def main() -> None:
            # Some 200 kB of lines; a pipe holds 64.
            for _ in range(8):
                await asyncio.gather(*(abort(f"ws://127.0.0.1:{port}/asr", b"", 5) for _ in range(40)))

        asyncio.run(main())
        assert httpx.get(f"{url}/health", timeout=10).json()["status"] in {"healthy", "degraded", "critical"}
        process.terminate()
        process.wait(60)
        assert process.returncode == 0


@pytest.mark.slow
def test_a_recorder_whose_words_nobody_reads_records_on(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("\n".join(f"http://127.0.0.1:1/a-server-with-a-rather-long-name-{n}" for n in range(900)))
    arguments = ("--hosts", str(hosts), "--history", str(tmp_path / "history.db"), "--duration", "3")
    with unread("record", *arguments) as process:
        assert process.wait(90) == 3, "not one of them answers"


def until(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.TransportError):
            if condition():  # type: ignore[operator]  # a function
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_lines_that_nobody_reads_are_counted_and_told_once_somebody_does() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing, lambda count: f"{count} lost", limit=10)
    line = "x" * 999
    for _ in range(500):
        writer.put(line)
        time.sleep(0.0001)
    with os.fdopen(reading, "rb") as pipe:
        told = 0
        for _ in range(1500):
            if b"lost" in (said := pipe.readline()):
                # A thread that got no turn loses some before the pipe is full, and says so first.
                told += int(said.split()[0])
            if told > 100:
                break
            writer.put(line)
    assert told > 100
    os.close(writing)


def test_a_reader_that_is_gone_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing, str)
    for _ in range(100):
        writer.put("nobody hears this")
    writer.close()
    os.close(writing)


@pytest.mark.parametrize("formatter", [logs.PlainLines(), logs.JsonLines()], ids=["plain", "json"])
def test_what_a_client_says_never_begins_a_line_of_its_own(formatter: logging.Formatter) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    log = logging.Logger("attacked")  # noqa: LOG001  # not of the tree: nothing else shall hear it
    log.addHandler(handler)
    log.warning("Connection %s: %s", HOSTILE, HOSTILE)
    try:
        Path(HOSTILE).relative_to("/somewhere")
    except ValueError:
        log.exception("A fault: %s", HOSTILE)
    log.warning("%s", "y" * 100_000)
    text = stream.getvalue()
    assert not [line for line in text.split("\n") if line and not line.isprintable()]
    assert not re.search(r"^2026-01-01T00:00:00Z", text, re.MULTILINE)
    assert len(text) < 10_000
    if isinstance(formatter, logs.JsonLines):
        assert [json.loads(line)["level"] for line in text.splitlines()] == ["warning", "error", "warning"]


def test_every_logger_of_the_process_goes_through_the_thread() -> None:
    """asyncio's and uvicorn's as well: one that writes by itself would block as before."""
    script = """
import logging
from server import logs
logs.set_up(as_json=False)
for name in ("", "asyncio", "uvicorn.error", "other.x"):
    logging.getLogger(name).warning("said by %s", name or "root")
print({type(handler).__name__ for name in logs.LOGGERS for handler in logging.getLogger(name).handlers})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'Background'}"
    assert len(re.findall(r"WARNING said by", done.stderr)) == 4
