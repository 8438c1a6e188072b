"""One client never starves the others, whatever it sends and however fast."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.attack.harness import (
    BINARY,
    CONTINUATION,
    FULL,
    PING,
    PONG,
    TEXT,
    Siege,
    besieged,
    examples,
    flood,
    frame,
    handshake,
    tcp,
)
from whisper_ops.tone_language import track

FEW_DESCRIPTORS = ("prlimit", "--nofile=1024:1024")
SECONDS = 6.0 if FULL else 1.2

GET = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
FLOODS: dict[str, tuple[str, bytes, bytes]] = {
    "empty pings": ("/ws", b"", frame(PING)),
    "pings of 125 bytes": ("/ws", b"", frame(PING, bytes(125))),
    "pongs that nobody asked for": ("/ws", b"", frame(PONG)),
    "empty continuation frames": ("/ws", frame(BINARY, fin=False), frame(CONTINUATION, fin=False)),
    "continuation frames of a byte": ("/ws", frame(TEXT, fin=False), frame(CONTINUATION, b"x", fin=False)),
    "empty audio": ("/ws", b"", frame(BINARY)),
    "audio of one sample": ("/ws", b"", frame(BINARY, bytes(2))),
    "flushes": ("/ws", b"", frame(TEXT, b'{"type":"flush"}')),
    "long flushes": ("/ws", b"", frame(TEXT, b'{"type":"flush"' + b" " * 100 + b"}")),
    "keepalives": ("/ws", b"", frame(TEXT, b'{"type":"keepalive"}')),
    "commits": ("/v1/realtime", b"", frame(TEXT, b'{"type":"input_audio_buffer.commit"}')),
    "session updates": ("/v1/realtime", b"", frame(TEXT, b'{"type":"session.update","session":{}}' + b" " * 50)),
}


def _flood(siege: Siege, kind: str) -> dict[str, Any]:
    path, first, again = FLOODS[kind]
    with handshake(siege.server, path) as sock:
        sock.sendall(first)
        done = flood(sock, again, SECONDS)
    return {"bytes": done.sent_bytes, "code": done.code, "reason": done.reason, "seconds": round(done.seconds, 2)}


def _judge_floods(counts: dict[str, Any]) -> None:
    assert counts["code"] == 1008, counts
    assert "too many" in counts["reason"], counts


def _fast(siege: Siege, sound: bytes, streams: int, seconds: float) -> dict[str, Any]:
    """Several streams that send as much as is taken."""

    def one(_: int) -> int:
        with handshake(siege.server) as sock:
            return flood(sock, frame(BINARY, sound), seconds).sent_bytes

    with ThreadPoolExecutor(streams) as pool:
        return {"bytes": list(pool.map(one, range(streams)))}


def _handshakes(siege: Siege, count: int) -> dict[str, Any]:
    """As many WebSockets at once, before any is answered."""
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"
    head = (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{siege.server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}"
    )
    answered = 0
    with ExitStack() as stack:
        socks = [stack.enter_context(tcp(siege.server, 30)) for _ in range(count)]
        for sock in socks:
            sock.sendall(f"{head}\r\n\r\n".encode())
        for sock in socks:
            with suppress(OSError):
                answered += sock.recv(12).startswith(b"HTTP/1.1 ")
    return {"handshakes": count, "answered": answered}


def _idle(siege: Siege, count: int) -> dict[str, Any]:
    """As many connections that say nothing, and somebody who asks for /health meanwhile."""
    idle = [tcp(siege.server) for _ in range(count)]
    answers = [httpx.get(f"{siege.server.url}/health", timeout=10).status_code for _ in range(5)]
    descriptors = psutil.Process(siege.server.process.pid).num_fds()
    for sock in idle:
        sock.close()
    return {"idle": count, "answers": answers, "descriptors": descriptors}


def _judge_idle(counts: dict[str, Any]) -> None:
    assert counts["answers"] == [200] * 5, counts
    assert counts["descriptors"] < 1024 - 48, counts


@pytest.mark.slow
def test_attacks_in_short(tmp_path: Path) -> None:
    """All of the below at once, in one siege: what `make test-slow` has time for."""
    with besieged(tmp_path, before=FEW_DESCRIPTORS) as siege:
        with ThreadPoolExecutor(len(FLOODS) + 1) as pool:

            def floods() -> dict[str, Any]:
                asking = pool.submit(_requests, siege, 3, GET.format("/metrics").encode())
                ended = dict(zip(FLOODS, pool.map(lambda kind: _flood(siege, kind), FLOODS), strict=True))
                assert asking.result()["answered_bytes"]
                return ended

            siege.attack("floods", floods, 1.0)
        counted = siege.server.get("/performance")["flooded_total"]
        siege.attack("faster than real time", lambda: _fast(siege, bytes(32000), 2, 1.5))
        siege.attack("handshakes at once", lambda: _handshakes(siege, 300), 1.0)
        siege.attack("idle connections", lambda: _idle(siege, 1100), 1.0)
    siege.report.check()
    ended, _, greeted, idle = (attack.counts for attack in siege.report.attacks)
    for counts in ended.values():
        _judge_floods(counts)
    assert sum(counted.values()) >= len(FLOODS)
    assert greeted["answered"] == 300
    _judge_idle(idle)


@pytest.mark.slow
def test_a_flood_of_frames_is_ended_and_nobody_else_notices(tmp_path: Path) -> None:
    with besieged(tmp_path) as siege:
        for kind in FLOODS:
            siege.attack(kind, partial(_flood, siege, kind), SECONDS)
    siege.report.check()
    for attack in siege.report.attacks:
        _judge_floods(attack.counts)


@pytest.mark.slow
def test_pings_of_a_client_that_does_not_read_fill_no_memory(tmp_path: Path) -> None:
    with besieged(tmp_path) as siege:

        def work() -> dict[str, Any]:
            with handshake(siege.server) as sock:
                return {"bytes": flood(sock, frame(PING, bytes(125)), SECONDS, read=False).sent_bytes}

        siege.attack("unread pongs", work)
    siege.report.check(memory_bytes=16e6)


@pytest.mark.slow
def test_audio_faster_than_real_time_waits_behind_everybody_else(tmp_path: Path) -> None:
    kinds = {"silence": bytes(32000), "speech": track(0, 16000 * 4).tobytes(), "long messages": bytes(1 << 20)}
    with besieged(tmp_path) as siege:
        for kind, sound in kinds.items():
            siege.attack(kind, partial(_fast, siege, sound, 4, 2 * SECONDS))
    siege.report.check(memory_bytes=200e6)


@pytest.mark.slow
def test_a_thousand_handshakes_at_once(tmp_path: Path) -> None:
    with besieged(tmp_path) as siege:
        for _ in range(examples(1, 5)):
            siege.attack("handshakes at once", partial(_handshakes, siege, 1000), 3.0)
    siege.report.check()
    assert all(attack.counts["answered"] == 1000 for attack in siege.report.attacks)


def _comings(siege: Siege, connections: int, seconds: float) -> dict[str, Any]:
    """Handshakes one after the other, each dropped as soon as it is answered, over many connections."""
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13"
    head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n"
    until = time.monotonic() + seconds

    def one(_: int) -> int:
        count = 0
        while time.monotonic() < until:
            with suppress(OSError), tcp(siege.server) as sock:
                sock.sendall(head.encode())
                count += sock.recv(12).startswith(b"HTTP/1.1 ")
        return count

    with ThreadPoolExecutor(connections) as pool:
        return {"handshakes": sum(pool.map(one, range(connections)))}


@pytest.mark.slow
def test_handshakes_without_end(tmp_path: Path) -> None:
    with besieged(tmp_path, "--max-connections-per-gpu", "30") as siege:
        for connections in (4, 30):
            siege.attack(f"{connections} come and go", partial(_comings, siege, connections, SECONDS))
    siege.report.check()


def _requests(siege: Siege, connections: int, data: bytes) -> dict[str, Any]:
    """Requests one after the other without waiting for the answers, over many connections."""

    def one(_: int) -> int:
        with tcp(siege.server) as sock:
            return flood(sock, data, SECONDS).received_bytes

    with ThreadPoolExecutor(connections) as pool:
        return {"answered_bytes": sum(pool.map(one, range(connections)))}


@pytest.mark.slow
def test_requests_without_end(tmp_path: Path) -> None:
    with besieged(tmp_path) as siege:
        for connections in (1, 30):
            for path in ("/health", "/metrics", "/nothing"):
                name = f"{connections} connections ask for {path}"
                siege.attack(name, partial(_requests, siege, connections, GET.format(path).encode()))
    siege.report.check(memory_bytes=100e6)


@pytest.mark.slow
def test_idle_connections_take_neither_the_descriptors_nor_the_limits(tmp_path: Path) -> None:
    with besieged(tmp_path, before=FEW_DESCRIPTORS) as siege:
        siege.attack("idle connections", partial(_idle, siege, examples(1100, 3000)), 3.0)
    siege.report.check()
    _judge_idle(siege.report.attacks[0].counts)
