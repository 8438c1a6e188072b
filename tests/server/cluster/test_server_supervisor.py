"""A supervisor over real servers: it keeps one running, and takes over the one of its predecessor."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from server.cluster.server_supervisor import Supervisor
from server.cluster.state_file import StateFile
from server.cluster.worker_spec import WorkerReport, WorkerSpec
from tests.server.speaker import Speaker
from whisper_ops import __version__
from whisper_ops.tone_language import track

LEASE = 3.0
SPEC = WorkerSpec(
    arguments=("--engine", "simulated", "--devices", "sim:1", "--sim-law", "a=0.02,b=0.005"),
    gpus=0,
    host="127.0.0.1",
    first_port=0,
    admin_token="admin",
    lease_seconds=LEASE,
    version=__version__,
)


def until(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


class RunningSupervisor:
    """A supervisor that runs in a thread, until it stops, or dies as if its process had been killed."""

    def __init__(self, folder: Path, spec: WorkerSpec = SPEC) -> None:
        self.supervisor = Supervisor("worker-1", spec, "127.0.0.1", folder)
        self.thread = threading.Thread(target=self.supervisor.run, daemon=True)
        self.thread.start()

    @property
    def report(self) -> WorkerReport:
        return self.supervisor.report()

    def live(self) -> "RunningSupervisor":
        until(lambda: self.report.state == "live")
        return self

    def die(self) -> None:
        self.supervisor._stopping.set()
        self.thread.join(10)


@contextmanager
def supervised(folder: Path, spec: WorkerSpec = SPEC) -> Iterator[RunningSupervisor]:
    """Whatever the test does, no server of the folder is left."""
    one = RunningSupervisor(folder, spec)
    try:
        yield one
    finally:
        one.supervisor.stop()
        one.die()


def server_of(folder: Path) -> psutil.Process:
    known = StateFile.of("worker-1", folder).read()
    assert known is not None
    return psutil.Process(known.pid)


def test_a_server_that_dies_is_started_again_and_stopping_leaves_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        first = one.live().report
        assert first.process_id is not None
        assert (first.starts, first.streams) == (1, 0)
        os.killpg(first.process_id, signal.SIGKILL)
        until(lambda: one.report.starts == 2 and one.report.state == "live")
        assert httpx.get(f"{one.report.url}/readyz").status_code == 200
        second = server_of(tmp_path)
        assert second.pid != first.process_id
        one.supervisor.stop()
        assert not second.is_running() or second.status() == psutil.STATUS_ZOMBIE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_servers_streams_outlive_its_supervisor_whose_successor_goes_on_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        first = RunningSupervisor(tmp_path).live()
        url = str(first.report.url).replace("http", "ws") + "/ws"
        pid = first.report.process_id
        speaker = Speaker(url, track(0, 12 * 16000).tobytes())
        running = asyncio.create_task(speaker.run())
        await speaker.ready()
        await asyncio.to_thread(first.die)
        async with httpx.AsyncClient() as http:
            until_closed = time.monotonic() + 30
            while (await http.get(f"{first.report.url}/readyz")).status_code == 200:
                assert time.monotonic() < until_closed
                await asyncio.sleep(0.1)
            refused = await http.get(f"{first.report.url}/connect")
            assert refused.status_code == 503
            assert not running.done()
            with supervised(tmp_path) as second:
                await asyncio.to_thread(second.live)
                assert (second.report.process_id, second.report.starts, second.report.streams) == (pid, 0, 1)
                assert (await http.get(f"{first.report.url}/readyz")).status_code == 200
                await running
                assert speaker.drops == 0
                assert len(speaker.words) == 30
                assert [final["start"] for final in speaker.finals] == sorted(f["start"] for f in speaker.finals)

    asyncio.run(main())


@pytest.mark.slow
def test_an_orphan_without_streams_ends(tmp_path: Path) -> None:
    one = RunningSupervisor(tmp_path).live()
    one.die()
    server = server_of(tmp_path)
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.slow
def test_another_clusters_server_is_left_alone_and_one_of_our_own_is_started(tmp_path: Path) -> None:
    first = RunningSupervisor(tmp_path).live()
    first.die()
    theirs = server_of(tmp_path)
    with supervised(tmp_path, replace(SPEC, admin_token="another")) as one:
        one.live()
        assert one.report.process_id != theirs.pid
    until(lambda: not theirs.is_running() or theirs.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--devices", "sim:99"), ("--engine", "nonsense")])
def test_a_server_that_cannot_start_is_tried_again_at_longer_times_and_says_why(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with supervised(tmp_path, replace(SPEC, arguments=(*SPEC.arguments, *arguments))) as one:
        until(lambda: one.report.starts >= 2)
        until(lambda: one.report.error is not None)
        assert (one.report.state in ("none", "starting"), one.report.streams) in [(True, 0), (True, None)]
        assert one.report.url is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_drained_worker_empties_and_no_other_server_is_started_in_it(tmp_path: Path) -> None:
    with supervised(tmp_path) as one:
        one.live()
        states = []
        for ask in (partial(one.supervisor.drain, 60), one.supervisor.recall, partial(one.supervisor.drain, 60)):
            ask()
            states.append(one.report.state)
        assert states == ["draining", "live", "draining"]
        server_of(tmp_path).kill()
        until(lambda: one.report.state == "none")
        time.sleep(2)
        assert (one.report.starts, one.report.streams, one.report.is_draining) == (1, 0, True)
