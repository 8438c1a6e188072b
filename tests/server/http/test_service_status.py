"""What systemd hears of a real server and a real broker: ready, alive, what they do, on their way out."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support.servers import Running, running_broker, running_server

SIMULATED = ("--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "2")


class Manager:
    """The socket that a service manager listens at, and all that came, as systemd reads it."""

    def __init__(self, address: Path) -> None:
        self.heard: list[dict[str, str]] = []
        self.environment = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "1000000"}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.settimeout(0.1)

    def listen(self, over: threading.Event) -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                words = self._socket.recv(4096).decode()
                self.heard.append(dict(line.split("=", 1) for line in words.splitlines()))

    def until(self, condition: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        deadline = time.monotonic() + 30
        while not (found := [one for one in self.heard if condition(one)]):
            assert time.monotonic() < deadline, self.heard
            time.sleep(0.02)  # between two looks at a condition with a deadline
        return found[0]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made, over = Manager(tmp_path / "notify"), threading.Event()
    thread = threading.Thread(target=made.listen, args=(over,))
    thread.start()
    yield made
    over.set()
    thread.join(10)


def is_alive(word: dict[str, str]) -> bool:
    return word.get("WATCHDOG") == "1"


def silent_while_stopped(manager: Manager, running: Running) -> None:
    """A process that hangs says nothing, which is what the watchdog waits for; one that goes on does."""
    os.kill(running.process.pid, signal.SIGSTOP)
    time.sleep(0.3)  # what was under way has come
    before = len(manager.heard)
    time.sleep(1.2)  # of hanging, which is what is tested: a word is due each half second
    assert len(manager.heard) == before
    os.kill(running.process.pid, signal.SIGCONT)
    manager.until(lambda _: len(manager.heard) > before)


def test_a_server_is_ready_alive_and_on_its_way_out(manager: Manager, tmp_path: Path) -> None:
    words = (*SIMULATED, "--sim-law", "a=0.01,b=0.001,load=1", "--drain-timeout", "5s")
    with running_server(tmp_path, *words, environment=manager.environment) as server:
        ready = manager.until(lambda word: word.get("READY") == "1")
        assert ready["STATUS"] == "healthy: 0 streams, 0 of 2 slots"
        with connect(server.ws_url) as stream:
            stream.recv(timeout=20)
            manager.until(lambda word: is_alive(word) and "1 stream, 1 of 2 slots" in word["STATUS"])
            silent_while_stopped(manager, server)
            server.process.terminate()
            manager.until(lambda word: word == {"STOPPING": "1"})
            # It drains, and is alive meanwhile.
            manager.until(lambda word: is_alive(word) and word["STATUS"].startswith("draining: 1 stream"))
        assert server.process.wait(20) == 0
    assert [word for word in manager.heard if "READY" in word] == [ready]
    before = [word["STATUS"] for word in manager.heard[: manager.heard.index(ready)]]
    assert before[0].startswith("starting"), "while its model loads it is alive and not ready"


def test_a_broker_says_how_many_answer(manager: Manager, tmp_path: Path) -> None:
    with running_server(tmp_path, *SIMULATED) as server:
        words = (server.url, "127.0.0.1:9")
        with running_broker(tmp_path, *words, environment=manager.environment) as broker:
            manager.until(lambda word: word.get("READY") == "1")
            manager.until(lambda word: is_alive(word) and word["STATUS"] == "1 of 2 members live")
            broker.process.terminate()
            manager.until(lambda word: word == {"STOPPING": "1"})
