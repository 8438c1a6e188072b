"""The files in deploy/ do what they say, in the real nginx, Prometheus and systemd."""

import asyncio
import contextlib
import json
import re
import struct
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.server.http.test_routes import _wav
from tests.support.programs import DEPLOY, checked, nginx, tool
from tests.support.servers import running_server

SIMULATED = (
    "--engine",
    "simulated",
    "--devices",
    "sim:1",
    "--sim-law",
    "a=0.02,b=0.005",
    "--max-connections-per-gpu",
    "2",
)


async def first(url: str, kinds: set[str]) -> dict[str, object]:
    """The first message of one of these kinds."""
    async with connect(url) as stream, asyncio.timeout(20):
        async for text in stream:
            message: dict[str, object] = json.loads(text)
            if message["type"] in kinds:
                return message
    raise AssertionError(f"no message of {kinds}")


@pytest.mark.timeout(90)
async def test_streams_pass_through_nginx_and_a_full_replica_sends_them_to_the_next(tmp_path: Path) -> None:
    tool("nginx")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_server(tmp_path, *SIMULATED, "--when-full", "503")) for _ in range(2)]
        port = stack.enter_context(nginx(tmp_path, servers))
        url = f"ws://127.0.0.1:{port}/ws"
        async with contextlib.AsyncExitStack() as streams:
            for _ in range(4):
                stream = await streams.enter_async_context(connect(url))
                async with asyncio.timeout(20):
                    async for text in stream:
                        if json.loads(text)["type"] == "ready":
                            break
            used = [server.get("/health")["capacity"]["used_slots"] for server in servers]
            assert used == [2, 2]
            refused = await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/connect")
            assert refused.status_code == 503
        for server in servers:
            await asyncio.to_thread(server.wait_until, "/health", lambda said: said["capacity"]["used_slots"] == 0)
        assert (await first(url, {"ready"}))["type"] == "ready"


def test_a_file_of_25_mib_passes_through_nginx(tmp_path: Path) -> None:
    tool("nginx")
    wav = _wav(30.0)
    # A part that nobody plays fills the rest.
    junk = (25 << 20) - len(wav) - 8
    sound = wav[:36] + b"JUNK" + struct.pack("<I", junk) + bytes(junk) + wav[36:]
    assert len(sound) == 25 << 20
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(tmp_path, *SIMULATED))
        port = stack.enter_context(nginx(tmp_path, [server]))
        url = f"http://127.0.0.1:{port}/v1/audio/transcriptions"
        for body in (wav, sound):
            answer = httpx.post(url, files={"file": ("a.wav", body)}, timeout=60)
            assert answer.status_code == 200
            assert len(answer.json()["text"].split()) == 75
        large = httpx.post(url, files={"file": ("a.wav", sound + bytes(100))}, timeout=60)
        assert large.status_code == 413
        assert "25 MiB" in large.json()["error"]["message"]


def test_the_prometheus_configuration_and_its_rules_are_valid() -> None:
    promtool = tool("promtool")
    said = checked(promtool, "check", "config", str(DEPLOY / "prometheus/whisper-ops.yml"))
    assert re.search(r"SUCCESS: \d+ rules found", said)


def test_the_alerts_fire_when_they_should() -> None:
    checked(tool("promtool"), "test", "rules", str(Path(__file__).with_name("rules_test.yml")))


def test_every_metric_in_the_rules_is_one_the_server_exports(tmp_path: Path) -> None:
    rules = (DEPLOY / "prometheus/whisper-ops.rules.yml").read_text("utf-8")
    named = set(re.findall(r"whisper_ops_[a-z_]+", rules))
    with running_server(tmp_path, *SIMULATED) as server:
        exported = httpx.get(f"{server.url}/metrics").text
    missing = {name for name in named if not re.search(rf"^{name}[ {{]", exported, re.MULTILINE)}
    assert not missing


@pytest.mark.parametrize("unit", sorted(path.name for path in (DEPLOY / "systemd").glob("*.service")))
def test_the_units_are_valid(unit: str, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    # The command it starts is wherever the user installed it; everything else is checked as it stands.
    text = (DEPLOY / "systemd" / unit).read_text("utf-8").replace("/usr/local/bin/whisper-ops", "/bin/true")
    copy = tmp_path / unit
    copy.write_text(text, "utf-8")
    said = checked(analyze, "verify", "--man=no", str(copy))
    assert unit not in said, said


@pytest.mark.parametrize("unit", sorted(path.name for path in (DEPLOY / "systemd").glob("*.service")))
def test_the_units_give_away_little(unit: str) -> None:
    """systemd's own judgement, from 0 to 10; without hardening a unit has 9.6."""
    analyze, file = tool("systemd-analyze"), DEPLOY / "systemd" / unit
    said = checked(analyze, "security", "--offline=yes", "--threshold=40", str(file))
    assert "Overall exposure level" in said


def test_the_server_may_finish_its_drain_before_it_is_killed() -> None:
    text = (DEPLOY / "systemd/whisper-ops-serve.service").read_text("utf-8")
    (drain,) = re.findall(r"--drain-timeout (\d+)min", text)
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(stop) >= int(drain) * 60 + 30
    assert re.search(r"^KillMode=mixed$", text, re.MULTILINE), "SIGTERM to the workers would end what drains"
