"""`serve --tls-cert`: every kind of client over TLS, with an authority that only its user knows."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
import trustme

from tests.server.speaker import Speaker
from tests.server.virtual import loud
from tests.support.servers import Running, running_server, whisper_ops
from whisper_ops import tls_trust
from whisper_ops.cli import run

SIMULATED = ("--engine", "simulated", "--devices", "sim:2", "--max-connections-per-gpu", "2")


class Files:
    """An authority and what it signed, as PEM files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        ours, other = authority.issue_cert("127.0.0.1", "localhost"), authority.issue_cert("other.example")
        self.folder = folder
        self.ca, self.certificate, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        self.both, self.other_key = folder / "both.pem", folder / "other.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in ours.cert_chain_pems))
        ours.private_key_pem.write_to_path(str(self.key))
        ours.private_key_and_cert_chain_pem.write_to_path(str(self.both))
        other.private_key_pem.write_to_path(str(self.other_key))
        (folder / "notes").write_text("not a certificate")

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    arguments = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    folder = tmp_path_factory.mktemp("server")
    few = ("prlimit", "--nofile=160:160")
    with running_server(folder, *SIMULATED, *arguments, tls=files.context(), before=few) as running:
        yield running


def test_the_server_says_https_and_hands_out_wss(server: Running) -> None:
    assert f"listening on https://127.0.0.1:{server.port}" in server.log.read_text("utf-8")
    assert server.get("/connect")["ws_url"].startswith(f"wss://127.0.0.1:{server.port}/ws")
    # Nobody is let in without TLS.
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{server.port}/livez", timeout=5)


def test_a_stream_speaks_over_wss(server: Running, files: Files) -> None:
    speaker = Speaker(server.ws_url, loud(32000), speed=5, tls=files.context())
    asyncio.run(speaker.run())
    assert speaker.finals


def test_http_where_tls_is_spoken_is_told_as_what_it_may_be(server: Running) -> None:
    for command in (("dash", "--once"), ("check", "--yes")):
        done = whisper_ops(*command, f"http://127.0.0.1:{server.port}")
        assert done.returncode == 3
        assert f"if it speaks TLS, say https://127.0.0.1:{server.port}" in done.stderr


def test_handshakes_are_counted_from_accept_on_and_keep_nobody_out(server: Running) -> None:
    with ExitStack() as stack:
        for k in range(200):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
            if k % 2:
                sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of one
        assert server.get("/livez") == {"status": "alive"}
        assert psutil.Process(server.process.pid).num_fds() < 130
        turned_away = server.get("/performance")["turned_away_total"]
        # Of one address half of those that the open files leave beside four slots.
        assert 200 - (160 - 4 - 64) // 2 <= turned_away <= 210
    server.wait_until("/performance", lambda _: psutil.Process(server.process.pid).num_fds() < 60)
    assert "Traceback" not in server.log.read_text("utf-8")


def test_handshakes_without_end_are_paid_for_like_requests(server: Running, files: Files) -> None:
    began = time.monotonic()

    def shake(_: int) -> int:
        count, context = 0, files.context()
        while time.monotonic() < began + 1.5:
            with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
                context.wrap_socket(sock, server_hostname="127.0.0.1").close()
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        shaken = sum(pool.map(shake, range(3)))
    # A tenth of a core at a millisecond each, and 200 at once; unbounded they are a thousand.
    assert shaken < 200 + 100 * (time.monotonic() - began) + 50
    assert server.get("/livez") == {"status": "alive"}


@pytest.mark.slow
def test_a_handshake_that_never_comes_is_not_waited_for(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as silent:
        silent.settimeout(30)
        began = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - began < 25, "by default a handshake has a minute"
    assert "Traceback" not in server.log.read_text("utf-8")


def test_the_page_goes_where_connect_says(server: Running) -> None:
    # Wherever /connect sends it, a page that came by https opens a socket that is encrypted too.
    assert httpx.get(f"{server.url}/connect", verify=server.tls or True).json()["ws_url"].startswith("wss://")
    page = httpx.get(f"{server.url}/page/server.js", verify=server.tls or True).text
    assert 'if (location.protocol === "https:") url.protocol = "wss:"' in page


@pytest.mark.parametrize(
    "command",
    [("dash", "--once"), ("check", "--yes"), ("sweep", "--levels", "1")],
    ids=lambda command: command[0],
)
def test_without_its_authority_one_sentence_says_what_to_do(
    command: tuple[str, ...], server: Running, tmp_path: Path
) -> None:
    name, *options = command
    history = () if name == "check" else ("--history", str(tmp_path / "history.db"))
    done = whisper_ops(name, server.url, *options, *history)
    assert done.returncode == 3, done.stderr
    said = [line for line in done.stderr.splitlines() if "is not trusted" in line]
    assert said, done.stderr
    assert "--ca-file" in said[0]
    assert "Traceback" not in done.stderr


def test_dash_and_check_believe_it_when_told(server: Running, files: Files, tmp_path: Path) -> None:
    ca = ("--ca-file", str(files.ca))
    seen = whisper_ops("dash", server.url, "--json", *ca)
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["servers"][0]["figures"]["slots"] == 4
    checked = whisper_ops("check", server.url, "--json", "--yes", WHISPER_OPS_CA_FILE=str(files.ca))
    lines = {line["check"]: line for line in json.loads(checked.stdout)["findings"]}
    assert lines["connection 5 is refused"]["answer"] == "pass", checked.stderr
    assert lines["slots are free again after disconnect"]["answer"] == "pass"


def test_sweep_believes_it_in_its_generators_too(server: Running, files: Files, tmp_path: Path) -> None:
    options = ("--levels", "1", "--duration", "2", "--no-warm-up", "--history", str(tmp_path / "history.db"), "--json")
    done = whisper_ops("sweep", server.url, *options, "--connect", "--ca-file", str(files.ca))
    (level,) = json.loads(done.stdout)["levels"]
    assert level["connected"] == 1, done.stderr


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("certificate", "other_key", "do not belong together"),
        ("certificate", None, "name its file with --tls-key"),
        (None, "key", "goes with --tls-cert"),
        ("key", "key", "key.pem holds no certificate"),
        ("certificate", "ca", "ca.pem holds no private key"),
        ("notes", "key", "notes holds no certificate"),
        ("certificate", "missing", "there is no such file"),
        ("folder", "key", "it is a folder"),
    ],
)
def test_files_that_cannot_be_are_one_sentence(
    certificate: str | None, key: str | None, said: str, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    options: list[str] = []
    for option, name in (("--tls-cert", certificate), ("--tls-key", key)):
        if name is not None:
            options += [option, str(getattr(files, name, files.folder / name))]
    with pytest.raises(SystemExit) as left:
        run(["serve", *SIMULATED, "--port", "0", *options])
    assert left.value.code == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_one_file_may_hold_both(files: Files) -> None:
    from server.http.tls import server_context

    assert server_context(files.both, None).get_ca_certs() == []


def test_a_file_of_authorities_that_is_none_is_one_sentence(
    files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tls_trust.VARIABLE, raising=False)
    for name, said in (("notes", "holds no certificate"), ("missing", "No such file")):
        with pytest.raises(SystemExit) as left:
            run(["dash", "--once", "https://127.0.0.1:1", "--ca-file", str(files.folder / name)])
        assert left.value.code == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert len(error.splitlines()) == 1
    monkeypatch.delenv(tls_trust.VARIABLE, raising=False)
