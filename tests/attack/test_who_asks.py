"""Who asks: pages of others, names of others, tickets, tokens that are none, and handshakes that nobody understands."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.attack.harness import FULL, SIMULATED, Siege, besieged, examples, tcp
from tests.support.servers import Running, running_server, whisper_ops

OWN = ("http://127.0.0.1:{port}", "http://localhost:{port}", "http://[::1]:{port}", "HTTP://LOCALHOST:{port}")
FOREIGN = (
    *("http://evil.example", "https://evil.example:{port}", "null", "", "http://127.0.0.1.evil.example:{port}"),
    *(
        "http://127.0.0.1:1",
        "http://localhost",
        "file://",
        "http://127.0.0.1:{port}@evil.example",
        "\x00",
        "http://[::1",
    ),
)
REBOUND = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example",
    "[::1",
    "@",
)
HERE = (
    "127.0.0.1:{port}",
    "localhost:{port}",
    "LOCALHOST",
    "asr.localhost:{port}",
    "[::1]:{port}",
    "127.8.9.1",
    "localhost.",
)


def spoken_to(server: Running, path: str = "/ws", *, origin: str | None = None, host: str | None = None) -> str:
    """What comes of a WebSocket from a browser: `ready`, or the status of the answer."""
    head = UPGRADE.format(path=path, port=server.port, more="" if origin is None else f"Origin: {origin}\r\n")
    if host is not None:
        head = head.replace(f"Host: 127.0.0.1:{server.port}", f"Host: {host}")
    said = b""
    with tcp(server, 20.0) as sock:
        sock.sendall(head.encode())
        while b'"ready"' not in said:
            data = sock.recv(65536)
            if not data:
                return said[9:12].decode()
            said += data
    return "ready"


def filled(texts: tuple[str, ...], server: Running) -> list[str]:
    return [text.format(port=server.port) for text in texts]


def raw(server: Running, head: bytes, *, more: bytes = b"", seconds: float = 15.0) -> tuple[bytes, float]:
    """What a server answers until it hangs up, or says that it is alive, and how long that took."""
    began, said = time.monotonic(), b""
    with tcp(server, seconds) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(head + more)
        while b'"alive"' not in said and (data := sock.recv(65536)):
            said += data
    return said, time.monotonic() - began


def own_names(server: Running) -> list[tuple[str, str]]:
    """Origins that are the server's, each with the Host that a browser sends beside it."""
    return [(origin, origin.split("//")[1].lower()) for origin in filled(OWN, server)]


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """On loopback, without a token."""
    origins = ("--allow-origin", "https://app.example", "--allow-origin", "https://asr.example:443/")
    with running_server(tmp_path_factory.mktemp("open"), *SIMULATED, *origins) as server:
        yield server


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With both tokens: `secret` and `root`."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text("secret\n")
    (folder / "admin").write_text("root\n")
    tokens = ("--token-file", str(folder / "token"), "--admin-token-file", str(folder / "admin"))
    with running_server(folder, *SIMULATED, *tokens, environment={"RUNPOD_POD_ID": "pod"}) as server:
        yield server


@pytest.mark.timeout(120)
def test_a_page_of_others_may_not_use_a_server_on_loopback(open_server: Running) -> None:
    server = open_server
    with httpx.Client(base_url=server.url, timeout=20) as http:
        for origin in filled(FOREIGN, server):
            if origin.isprintable():
                assert spoken_to(server, origin=origin) == "403", origin
                for path in ("/snapshot", "/connect", "/", "/docs", "/openapi.json"):
                    assert http.get(path, headers={"Origin": origin}).status_code == 403, origin
                form = http.post("/v1/audio/transcriptions", headers={"Origin": origin}, data={"a": "b"})
                assert form.status_code == 403
        for path in ("/asr", "/", "/v1/realtime"):
            assert spoken_to(server, path, origin="http://evil.example") == "403"
        for origin, host in own_names(server):
            assert spoken_to(server, origin=origin, host=host) == "ready", origin
        assert spoken_to(server, origin="https://app.example") == "ready"
        answer = http.get("/snapshot", headers={"Origin": "https://app.example"})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
        asked["Access-Control-Request-Headers"] = "authorization"
        assert http.options("/connect", headers=asked).status_code == 200
        # What a page of others can ask without an Origin.
        images = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
        links = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        for headers, path, status in (
            (images, "/connect", 403),
            (images | {"Sec-Fetch-Site": "same-site"}, "/connect", 403),
            (links, "/connect", 403),
            (links | {"Sec-Fetch-Dest": "iframe"}, "/", 403),
            (links, "/", 200),
            ({"Sec-Fetch-Site": "none"}, "/connect", 200),
        ):
            assert http.get(path, headers=headers).status_code == status, (headers, path)
        assert server.get("/performance")["tickets_issued_total"] == 1
        # A page that may ask comes back by another name with what it was given.
        said = http.get("/connect", headers={"Origin": "https://app.example"}).json()
        direct = f"/ws?ticket={said['ticket']}"
        assert spoken_to(server, direct, origin="https://lb.example", host="asr.example") == "ready"
        assert spoken_to(server, direct, origin="https://lb.example", host="asr.example") == "403"


@pytest.mark.timeout(120)
def test_a_name_that_was_pointed_at_loopback_reads_nothing(open_server: Running, guarded_server: Running) -> None:
    server = open_server

    def status(host: str) -> bytes:
        head = f"GET /snapshot HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        return raw(server, head.encode())[0][9:12]

    for host in filled(REBOUND, server):
        assert status(host) == b"403", host
        assert spoken_to(server, host=host, origin=f"http://{host}") == "403", host
    for host in (*filled(HERE, server), "asr.example"):
        assert status(host) == b"200", host
    assert status(f"127.0.0.1:{server.port}\r\nHost: evil.example") == b"400"
    # An orchestrator may ask by whatever name.
    assert httpx.get(f"{server.url}/readyz", headers={"Host": "evil.example"}).status_code == 200
    # With a token no page elsewhere has it.
    named = {"Host": "asr.example", "Authorization": "Bearer secret"}
    assert httpx.get(f"{guarded_server.url}/snapshot", headers=named).status_code == 200
    assert httpx.get(f"{guarded_server.url}/snapshot", headers={"Host": "asr.example"}).status_code == 401


def test_debug_is_reached_where_both_tokens_are_set(guarded_server: Running) -> None:
    def status(path: str, *bearer: str) -> int:
        headers = {"Authorization": f"Bearer {bearer[0]}"} if bearer else {}
        return httpx.get(f"{guarded_server.url}{path}", headers=headers).status_code

    assert status("/connect?debug=1", "root") == 200
    assert status("/connect?debug=1&token=root", "secret") == 200
    assert status("/connect?debug=1&token=secret", "root") == 200
    assert status("/connect?debug=1", "secret") == 403
    assert status("/connect?debug=1") == 401
    assert status("/connect", "root") == 401, "the admin token opens admin's calls"
    assert status("/snapshot", "root") == 401
    assert status("/connect?debug=0", "root") == 401


@pytest.mark.parametrize("option", ["--token-file", "--admin-token-file"])
def test_a_blank_token_does_not_start_a_server(tmp_path: Path, option: str) -> None:
    (tmp_path / "token").write_text(" \n")
    done = whisper_ops("serve", *SIMULATED, "--port", "0", option, str(tmp_path / "token"), timeout=60)
    assert done.returncode == 2
    assert "put the token on its first line" in done.stderr
    assert "Traceback" not in done.stderr


UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)
HANDSHAKES: dict[str, tuple[str, str, bytes, str]] = {
    "an address of 9 kB": ("/ws?x=" + "x" * 9000, "", b"", "414"),
    "an address of 60 kB": ("/ws?x=" + "x" * 60_000, "", b"", "414"),
    "a header of 9 kB": ("/ws", "X: " + "x" * 9000 + "\r\n", b"", "431"),
    "a header of 60 kB": ("/ws", "X: " + "x" * 60_000 + "\r\n", b"", "431"),
    "129 headers": ("/ws", "".join(f"X-{n}: y\r\n" for n in range(129)), b"", "431"),
    "1,000 headers": ("/ws", "".join(f"X-{n}: y\r\n" for n in range(1000)), b"", "431"),
    "a body that is there": ("/ws", "Content-Length: 5\r\n", b"hello", "400"),
    "a body that never comes": ("/ws", "Content-Length: 5\r\n", b"", "400"),
    "chunks": ("/ws", "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", "400"),
    "an address that is no ASCII": ("/ws?x=\xe4", "", b"", "400"),
    "no key": ("/ws", "", b"", "400"),
    "another version": ("/ws", "", b"", "400"),
    "a POST": ("/ws", "", b"", "405"),
    "another protocol": ("/livez", "", b"", "200"),
    "no upgrade after all": ("/livez", "", b"", "200"),
    "a tunnel": ("127.0.0.1:22", "", b"", "40"),
}


def handshakes(server: Running) -> dict[str, Any]:
    """Every handshake is answered, and ended, whoever asks."""
    answers: dict[str, int] = {}
    for name, (path, more, body, status) in HANDSHAKES.items():
        head = UPGRADE.format(path=path, port=server.port, more=more)
        if name == "no key":
            head = head.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "")
        head = head.replace("Version: 13", "Version: 7") if name == "another version" else head
        head = head.replace("GET ", "POST ") if name == "a POST" else head
        head = head.replace("GET ", "CONNECT ") if name == "a tunnel" else head
        head = head.replace("Upgrade: websocket", "Upgrade: h2c") if name == "another protocol" else head
        head = head.replace("Connection: Upgrade", "Connection: close") if name == "no upgrade after all" else head
        said, seconds = raw(server, head.encode("latin-1"), more=body)
        assert said.startswith(f"HTTP/1.1 {status}".encode()), (name, said[:80])
        assert seconds < 10, name
        answers[status] = answers.get(status, 0) + 1
    return answers


@pytest.mark.timeout(120)
def test_every_handshake_has_an_answer_whoever_asks(open_server: Running, guarded_server: Running) -> None:
    for server in (open_server, guarded_server):
        handshakes(server)
    if FULL:  # refused, and does not close when it is told to
        head = UPGRADE.format(path="/ws", port=guarded_server.port, more="").encode()
        said, seconds = raw(guarded_server, head, seconds=30)
        assert said.startswith(b"HTTP/1.1 101")
        assert seconds < 20
    for server in (open_server, guarded_server):
        assert "Traceback" not in server.log.read_text("utf-8", "replace")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_who_asks_wrongly_is_no_burden_to_who_asks_rightly(tmp_path: Path) -> None:
    times = examples(1, 20)

    def repeated(work: Callable[[Running], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        return lambda: {"rounds": times, **[work(siege.server) for _ in range(times)][-1]}

    with besieged(tmp_path, "--max-connections-per-gpu", "32") as siege:
        siege.attack("handshakes that nobody understands", repeated(handshakes), 3.0)
        siege.attack("tickets that nobody uses", repeated(hoard), 2.0)
        siege.attack("half a handshake each", lambda: half(siege, examples(40, 400)), 2.0)
    siege.report.check()


def hoard(server: Running) -> dict[str, Any]:
    """Ask /connect as often as there are slots, and come with none of the tickets."""
    codes = [httpx.get(f"{server.url}/connect").status_code for _ in range(32)]
    used = server.get("/health")["capacity"]["used_slots"]
    assert used <= 5, "four good clients, and one slot for all these tickets"
    return {"given": codes.count(200), "refused": codes.count(503)}


def half(siege: Siege, count: int) -> dict[str, Any]:
    """Connections that begin a handshake and then wait: they are hung up on, and hold nothing."""
    socks: list[socket.socket] = []
    head = UPGRADE.format(path="/ws", port=siege.server.port, more="").encode()
    for n in range(count):
        socks.append(tcp(siege.server))
        socks[-1].sendall(head[: 10 + n % (len(head) - 12)])
    time.sleep(0.5)
    for sock in socks:
        sock.close()
    return {"connections": count}
