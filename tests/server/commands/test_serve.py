"""`whisper-ops serve` as a process: what it refuses, what it logs, how it ends."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect

from server.http.bounded_http import HEAD_BYTES, BoundedHttp
from server.settings import Settings
from tests.server.speaker import Speaker
from tests.server.virtual import loud
from tests.support.servers import Running, running_server
from whisper_ops.cli import run

SIMULATED = ("--engine", "simulated", "--devices", "sim:2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "NOTES"], "is a file; --model takes the folder"),
        (["--model", "EMPTY"], "model.bin, config.json, tokenizer.json missing"),
        (["--model", "/nowhere/at/all"], "no model folder /nowhere/at/all"),
        (["--model", "gigantic"], "unknown model 'gigantic'"),
        (["--devices", "tpu:0"], "'tpu:0' is not a device"),
        (["--host", "0.0.0.0", *SIMULATED], "--token-file"),
        (["--sim-law", "a=1"], "--sim-law cannot be honoured"),
        ([*SIMULATED, "--sim-law", "a=fast"], "'a=fast'"),
        ([*SIMULATED, "--token-file", "/nowhere/token"], "/nowhere/token"),
        ([*SIMULATED, "--host", "203.0.113.7", "--insecure"], "203.0.113.7"),
        (
            [*SIMULATED, "--reconnect-url", "https://other.example"],
            "'https://other.example' is not a WebSocket address",
        ),
        ([*SIMULATED, "--public-url", "wss://{pod}.example/ws"], "'wss://{pod}.example/ws' is not a WebSocket address"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "NOTES").write_text("not a model")
    (tmp_path / "EMPTY").mkdir()
    placed = [str(tmp_path / a) if a in ("NOTES", "EMPTY") else a for a in arguments]
    with pytest.raises(SystemExit) as left:
        run(["serve", *placed])
    assert left.value.code == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as left:
            run(["serve", *SIMULATED, "--port", str(port)])
    assert left.value.code == 2
    assert f"port {port} on 127.0.0.1 is in use" in capsys.readouterr().err


def test_the_port_of_the_environment_is_taken_and_the_command_line_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, option, port in (
        ("9123", [], 9123),
        (" 9123\n", [], 9123),
        ("", [], 8000),
        (None, [], 8000),
        ("9123", ["--port", "8000"], 8000),
        ("nonsense", ["--port", "8000"], 8000),
    ):
        monkeypatch.delenv("PORT", raising=False)
        if variable is not None:
            monkeypatch.setenv("PORT", variable)
        served: list[Settings] = []
        monkeypatch.setattr("server.http.serving.serve", lambda settings, _announce, to=served: to.append(settings))
        with pytest.raises(SystemExit) as left:
            run(["serve", *SIMULATED, *option])
        assert left.value.code == 0
        assert [settings.port for settings in served] == [port], (variable, option)


@pytest.mark.parametrize(
    "nonsense", ["http", "-1", "65536", "8000.0", "0x1F", "²", "0000099999999", "tcp://10.0.0.1:80"]
)
def test_a_port_of_the_environment_that_is_none_is_one_sentence(
    nonsense: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", nonsense)
    with pytest.raises(SystemExit) as left:
        run(["serve", *SIMULATED])
    assert left.value.code == 2
    error = capsys.readouterr().err.strip()
    assert f"PORT in the environment is '{nonsense}'" in error
    assert len(error.splitlines()) == 1


def test_the_log_has_the_lines_an_operator_greps_and_no_secret(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hush-hush\n")
    # One device: of two, whichever is ready first gets the stream.
    one_slot = ("--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "1")
    with running_server(tmp_path, *one_slot, "--token-file", str(token)) as server:
        url = f"{server.ws_url}?token=hush-hush"

        async def main() -> tuple[str, dict[str, Any]]:
            async with connect(url, compression=None) as client:
                ready = await _first(client, "ready")
                async with connect(url, compression=None) as one_more:
                    await _first(one_more, "error")
                asked = await asyncio.to_thread(
                    httpx.get, f"{server.url}/connect", headers={"authorization": "Bearer hush-hush"}
                )
                assert asked.status_code == 503
                return ready["connection_id"], ready

        number, ready = asyncio.run(main())
        asyncio.run(Speaker(url, loud(16000), speed=5).run())
        log = _log_with(server, f"Released GPU 0 from connection {number}")
    assert ready["message"] == "Ready to transcribe"
    for line in (
        rf"Connection {number}: WebSocket accepted \(\d+ms\)",
        rf"Allocated GPU 0 to connection {number}",
        rf"Connection {number}: GPU 0 allocated \(\d+ms\)",
        rf"Connection {number}: TranscriptionEngine loaded \(\d+ms\)",
        rf"Connection {number}: Ready to transcribe \(\d+ms\)",
        r"Connection \w+: refused, no_capacity: No GPU resources available",
        r"/connect: refused, no_capacity: No GPU resources available",
    ):
        assert re.search(line, log), (line, log)
    assert "hush" not in log
    assert "river" not in log


async def _first(client: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        async for text in client:
            message: dict[str, Any] = json.loads(text)
            if message["type"] == kind:
                return message
    raise AssertionError(f"no {kind}")


def _log_with(server: Running, line: str) -> str:
    deadline = time.monotonic() + 15
    while line not in (log := server.log.read_text("utf-8")):
        assert time.monotonic() < deadline, log
        time.sleep(0.05)
    return log


def test_logs_are_json_by_flag(tmp_path: Path) -> None:
    with running_server(tmp_path, *SIMULATED, "--log-json") as server:
        lines = [line for line in server.log.read_text("utf-8").splitlines() if line.startswith("{")]
    assert lines
    assert {"time", "level", "message"} <= set(json.loads(lines[0]))


def test_sigterm_lets_live_streams_end_and_then_leaves(tmp_path: Path) -> None:
    with running_server(tmp_path, *SIMULATED, "--drain-timeout", "20") as server:

        async def main() -> tuple[list[str], int]:
            kinds = []
            async with connect(server.ws_url, compression=None) as client:
                async for text in client:
                    kinds.append(json.loads(text)["type"])
                    if kinds[-1] == "ready":
                        await client.send(loud(32000))
                        server.process.send_signal(signal.SIGTERM)
                    if kinds[-1] == "draining":
                        await client.send('{"type":"end"}')
            return kinds, client.close_code or 0

        kinds, code = asyncio.run(main())
        assert code == 1000
        assert kinds[-1] == "done"
        assert "final" in kinds
        assert server.process.wait(15) == 0


def test_a_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    with running_server(tmp_path, *SIMULATED, "--drain-timeout", "600") as server:

        async def main() -> None:
            async with connect(server.ws_url, compression=None) as client:
                async for text in client:
                    kind = json.loads(text)["type"]
                    if kind in ("ready", "draining"):
                        server.process.send_signal(signal.SIGTERM)

        with pytest.raises(Exception, match=r"close frame|1012|1001"):
            asyncio.run(main())
        assert server.process.wait(20) == 0


def test_a_model_without_rights_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    plain = Path.open

    def denied(path: Path, *arguments: Any, **named: Any) -> Any:  # chmod would not keep root out
        if path.name == "model.bin":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(SystemExit) as left:
        run(["serve", "--model", str(tmp_path), "--devices", "cpu"])
    assert left.value.code == 2
    assert "cannot be read (Permission denied)" in capsys.readouterr().err


def test_half_a_request_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.http.bounded_http.HEAD_SECONDS", 0.2)

    async def main() -> tuple[bytes, bytes]:
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(_app, http=BoundedHttp, lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        server = await loop.create_server(lambda: BoundedHttp(config, state, {}), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        slow, slow_out = await asyncio.open_connection("127.0.0.1", port)
        slow_out.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-")
        big, big_out = await asyncio.open_connection("127.0.0.1", port)
        big_out.write(b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES + 1))
        good, good_out = await asyncio.open_connection("127.0.0.1", port)
        good_out.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = []
        for reader in (slow, big):
            with contextlib.suppress(ConnectionError):
                answers.append(await asyncio.wait_for(reader.read(), 10))
        # A whole head is served, and its connection may go on after the deadline of the head.
        first = await asyncio.wait_for(good.readuntil(b"hello"), 10)
        await asyncio.sleep(0.4)
        good_out.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        second = await asyncio.wait_for(good.readuntil(b"hello"), 10)
        server.close()
        assert answers[0] == b""
        assert b"".join(answers[1:]).startswith((b"HTTP/1.1 431", b""))
        return first, second

    first, second = asyncio.run(main())
    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 200")


async def _app(scope: Any, receive: Any, send: Any) -> None:  # ASGI's
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
