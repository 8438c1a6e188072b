"""Clients that come, say a little or nothing, and go in every way there is."""

import struct
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest

from tests.attack.harness import BINARY, CLOSE, TEXT, Siege, besieged, examples, frame, handshake, tcp


def _come_and_go(siege: Siege) -> dict[str, Any]:
    sayings = [b"", frame(BINARY, bytes(320)), frame(TEXT, b"{"), frame(BINARY, b"x"), frame(CLOSE, b"\x03\xe8")]
    count = examples(20, 500)
    for n in range(count):
        with handshake(siege.server, ("/ws", "/asr", "/", "/v1/realtime")[n % 4]) as sock:
            sock.sendall(sayings[n % len(sayings)])
            if n % 3 == 0:
                sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))  # gone without a word
        tcp(siege.server).close()
    return {"connections": 2 * count}


def _pipelined(siege: Siege) -> dict[str, Any]:
    """Requests with bodies, and without, in one piece: each is answered, in order."""
    body = b'{"max_connections_per_gpu": 5}' + b" " * 300
    put = b"PUT /admin/limits HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    get = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    said, wanted = b"", [b"200", b"401", b"200", b"200", b"401"] * 20
    with tcp(siege.server) as sock:
        sock.sendall((get + put + get + get + put) * 20)
        while said.count(b"HTTP/1.1 ") < len(wanted):
            more = sock.recv(65536)
            assert more, said
            said += more
    codes = [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]]
    assert [code != b"200" for code in codes] == [code != b"200" for code in wanted], codes
    return {"answers": len(codes)}


@pytest.mark.slow
def test_clients_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    with besieged(tmp_path, "--max-connections-per-gpu", "100") as siege:
        siege.attack("requests in one piece", lambda: _pipelined(siege))
        siege.attack("come and go", lambda: _come_and_go(siege), 3.0)
    siege.report.check()
