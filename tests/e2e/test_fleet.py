"""A real fleet: servers with simulated engines, a broker, clients that are sent to one and go on at another."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.speaker import Speaker
from tests.support.programs import wait_for_port
from tests.support.servers import Running, free_port, running_broker, running_server, whisper_ops
from whisper_ops.tone_language import track

SIMULATED = ("--engine", "simulated", "--devices", "sim:2", "--sim-law", "a=0.02,b=0.005")
SECONDS = 8
WORDS = 20


class SentBy(Speaker):
    """A native client that asks a broker where to go, each time it has to connect."""

    def __init__(
        self, brokers: list[Running], seconds: float = SECONDS, sound: tuple[bytes, int] | None = None
    ) -> None:
        audio, rate = sound or (track(0, round(seconds * 16000)).tobytes(), 16000)
        super().__init__("", audio, rate=rate)
        self._brokers = brokers
        self.been_at: list[int] = []

    async def _once(self) -> None:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            for broker in self._brokers:
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.get(f"{broker.url}/connect")
                    if answer.status_code == 200:
                        self._url = f"{answer.json()['ws_url']}&sample_rate={self._rate}"
                        self.been_at.append(answer.json()["port"])
                        await super()._once()
                        return


def end_at_once(server: Running) -> None:
    """The machine is gone: the whole process group, workers too."""
    os.killpg(server.process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_killed_brokers_and_servers_cost_native_clients_no_word(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(running_server(tmp_path, *SIMULATED, "--max-connections-per-gpu", "4"))
            for _ in range(3)
        ]
        urls = [server.url for server in servers]
        brokers = [stack.enter_context(running_broker(tmp_path, *urls)) for _ in range(2)]

        async def main() -> list[SentBy]:
            speakers = [SentBy(brokers[number % 2 :] + brokers[: number % 2]) for number in range(6)]
            runs = [asyncio.create_task(speaker.run()) for speaker in speakers]
            await asyncio.gather(*(speaker.ready() for speaker in speakers))
            await asyncio.sleep(1.5)
            end_at_once(brokers[0])
            await asyncio.sleep(1)
            assert [speaker.drops + len(speaker.been_at) for speaker in speakers] == [1] * 6, "nobody noticed"
            end_at_once(servers[0])
            await asyncio.gather(*runs)
            return speakers

        speakers = asyncio.run(main())
        assert sorted(speaker.been_at[0] for speaker in speakers) == sorted(2 * [server.port for server in servers])
        moved = [speaker for speaker in speakers if len(speaker.been_at) > 1]
        assert {speaker.been_at[0] for speaker in moved} == {servers[0].port}
        assert all(speaker.been_at[-1] != servers[0].port for speaker in moved)
        for speaker in speakers:
            assert speaker.done is not None, speaker.errors
            assert len(speaker.words) == WORDS, (speaker.been_at, speaker.words)
        for server in servers[1:]:
            server.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_commands_work_on_a_broker_as_on_one_server(tmp_path: Path) -> None:
    history = ("--history", str(tmp_path / "history.db"))
    patience = {"WHISPER_OPS_MAX_OTHER_LOAD": "100"}
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(running_server(tmp_path, *SIMULATED, "--max-connections-per-gpu", "2"))
            for _ in range(2)
        ]
        broker = stack.enter_context(running_broker(tmp_path, *(server.url for server in servers)))

        checked = whisper_ops("check", broker.url, "--json", timeout=120)
        findings = json.loads(checked.stdout)["findings"]
        # How quick an accept is, is up to what else this machine does.
        failed = [row for row in findings if row["answer"] == "fail" and "accept" not in row["check"]]
        assert failed == [], checked.stderr

        shown = whisper_ops("dash", broker.url, "--once", "--json", *history)
        assert shown.returncode == 0, shown.stderr
        said: dict[str, Any] = json.loads(shown.stdout)
        assert said["servers"][0]["figures"]["slots"] == 8

        levels = ("--levels", "2,4,6,8", "--duration", "5", "--chunk", "400", "--no-warm-up", "--json")
        swept = whisper_ops("sweep", "run", broker.url, "--connect", *levels, *history, timeout=200, **patience)
        assert swept.returncode in (0, 1), swept.stderr
        answer = json.loads(swept.stdout)
        assert {(level["servers"], level["gpus"]) for level in answer["levels"]} == {(2, 4)}
        within = [level for level in answer["levels"] if level["streams"] <= 8]
        assert {level["streams"] for level in within} >= {2, 4, 6, 8}
        assert all((level["connected"], level["refused"]) == (level["streams"], 0) for level in within)
        planned = whisper_ops("plan", "--json", *history)
        assert planned.returncode in (0, 4), planned.stderr
        key = json.loads(planned.stdout)["key"]
        assert (key["servers"], key["gpus"], key["software"]) == (2, 4, "whisper-ops")
        broker.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_broker_ends_when_told_to(tmp_path: Path, number: int, code: int) -> None:
    port = free_port()
    log = tmp_path / "log"
    command = [sys.executable, "-m", "whisper_ops", "broker", "127.0.0.1:9", "--port", str(port)]
    with log.open("wb") as output, subprocess.Popen(command, stderr=output) as process:
        try:
            wait_for_port(port)
            said = httpx.get(f"http://127.0.0.1:{port}/connect")
            assert (said.status_code, said.json()["code"]) == (503, "no_answer")
            assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 503
            process.send_signal(number)
            assert process.wait(15) == code, log.read_text()
        finally:
            process.kill()
