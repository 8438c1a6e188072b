"""A real nginx before three real servers: spread, a killed one, one that drains, and a fleet that is full."""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.server.speaker import Speaker
from tests.support.programs import nginx, tool
from tests.support.servers import Running, free_port, running_server, whisper_ops
from whisper_ops.tone_language import track

SLOTS = 6
SIMULATED = (
    *("--engine", "simulated", "--devices", "sim:1", "--sim-law", "a=0.02,b=0.005"),
    *("--max-connections-per-gpu", str(SLOTS), "--when-full", "503"),
)
SECONDS = 12


def used(server: Running) -> int:
    return int(server.get("/health")["capacity"]["used_slots"])


async def admitted(url: str, stack: contextlib.AsyncExitStack) -> ClientConnection | InvalidStatus:
    """A stream that is ready, or the refusal."""
    try:
        stream = await stack.enter_async_context(connect(url, proxy=None))
    except InvalidStatus as refusal:
        return refusal
    async with asyncio.timeout(20):
        async for text in stream:
            if json.loads(text)["type"] == "ready":
                return stream
    raise AssertionError("closed before it was ready")


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_no_word_is_lost_when_a_replica_is_killed_and_another_drains(tmp_path: Path) -> None:
    tool("nginx")
    token = {"WHISPER_OPS_ADMIN_TOKEN": "admin"}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_server(tmp_path, *SIMULATED, environment=token)) for _ in range(3)]
        url = f"ws://127.0.0.1:{stack.enter_context(nginx(tmp_path, servers, SLOTS))}/ws"

        async def main() -> list[Speaker]:
            import httpx

            speakers = [Speaker(url, track(0, SECONDS * 16000).tobytes()) for _ in range(6)]
            runs = []
            for speaker in speakers:
                runs.append(asyncio.create_task(speaker.run()))
                await speaker.ready()
            assert [await asyncio.to_thread(used, server) for server in servers] == [2, 2, 2]
            await asyncio.sleep(1)
            os.killpg(servers[0].process.pid, signal.SIGKILL)
            await asyncio.sleep(2)
            async with httpx.AsyncClient() as http:
                drained = await http.post(f"{servers[1].url}/admin/drain", headers={"Authorization": "Bearer admin"})
                assert drained.status_code == 200
            await asyncio.to_thread(servers[1].wait_until, "/health", lambda said: said["capacity"]["used_slots"] == 0)
            await asyncio.to_thread(servers[2].wait_until, "/health", lambda said: said["capacity"]["used_slots"] == 6)
            await asyncio.gather(*runs)
            return speakers

        for speaker in asyncio.run(main()):
            assert speaker.done is not None, speaker.errors
            assert len(speaker.words) == round(SECONDS / 0.4), speaker.words
        assert servers[2].get("/performance")["accepted_total"] == 6
        servers[2].wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0)


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_full_fleet_says_that_it_is_full_and_is_not_down(tmp_path: Path) -> None:
    tool("nginx")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running_server(tmp_path, *SIMULATED)) for _ in range(3)]
        status = free_port()
        url = f"ws://127.0.0.1:{stack.enter_context(nginx(tmp_path, servers, SLOTS, status))}/ws"

        async def main() -> None:
            async with contextlib.AsyncExitStack() as streams:
                inside = [await admitted(url, streams) for _ in range(3 * SLOTS)]
                assert not [one for one in inside if isinstance(one, InvalidStatus)]
                assert [await asyncio.to_thread(used, server) for server in servers] == [SLOTS] * 3
                history = str(tmp_path / "history.db")
                watched = await asyncio.to_thread(
                    whisper_ops, "dash", f"nginx+http://127.0.0.1:{status}", "--once", "--json", "--history", history
                )
                assert json.loads(watched.stdout)["servers"][0]["figures"]["streams_active"] == 3 * SLOTS
                for _ in range(12):
                    refused = await admitted(url, streams)
                    assert isinstance(refused, InvalidStatus)
                    assert refused.response.status_code == 503, "full, not down"
                    assert json.loads(refused.response.body or b"")["code"] == "no_capacity"
                    assert refused.response.headers["retry-after"]
                leaving = inside[7]
                assert isinstance(leaving, ClientConnection)
                await leaving.close()
                assert isinstance(await admitted(url, streams), ClientConnection), "at once, whoever was full before"

        asyncio.run(main())
