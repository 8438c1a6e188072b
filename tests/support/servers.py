"""Real commands in real processes, on free ports of 127.0.0.1, stopped whatever happens."""

import itertools
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 60.0


_PORTS = itertools.cycle(random.Random(os.getpid()).sample(range(18_000, 30_000), 12_000))  # an order a process


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to whoever asks for any: another test does."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


def whisper_ops(*arguments: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a user would, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "whisper_ops", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )


@dataclass
class Running:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws{'s' if self.tls else ''}://127.0.0.1:{self.port}/ws"

    def get(self, path: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}{path}", timeout=10, verify=self.tls or True)
        answer.raise_for_status()
        body = json.loads(answer.content)
        assert isinstance(body, dict)
        return body

    def wait_until(self, path: str, condition: Callable[[dict[str, Any]], bool], seconds: float = 15) -> dict[str, Any]:
        """Ask until the answer is as wanted; fail with the last answer."""
        deadline = time.monotonic() + seconds
        while not condition(said := self.get(path)):
            assert time.monotonic() < deadline, f"{path} still says {said}"
            time.sleep(0.05)
        return said


@contextmanager
def running_server(
    folder: Path,
    *arguments: str,
    port: int | None = None,
    tls: ssl.SSLContext | None = None,
    environment: dict[str, str] | None = None,
    before: Sequence[str] = (),
) -> Iterator[Running]:
    """`whisper-ops serve` on a free port, or on `port`; ready when the block begins, gone when it ends.

    `tls` believes the certificate that `arguments` name. `before`: what the command is run by, as `prlimit …`.
    """
    with _running(folder, ("serve", *arguments), port, tls, environment, before) as server:
        yield server


@contextmanager
def running_broker(
    folder: Path, *arguments: str, port: int | None = None, environment: dict[str, str] | None = None
) -> Iterator[Running]:
    """`whisper-ops broker`, in the same way; a member of it must be ready."""
    with _running(folder, ("broker", *arguments), port, None, environment, ()) as broker:
        yield broker


@contextmanager
def _running(
    folder: Path,
    command: Sequence[str],
    port: int | None,
    tls: ssl.SSLContext | None,
    environment: dict[str, str] | None,
    before: Sequence[str],
) -> Iterator[Running]:
    port = free_port() if port is None else port
    log = folder / f"{command[0]}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "whisper_ops", *command, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        server = Running(port, process, log, tls)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(server: Running) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        said = server.log.read_text("utf-8", "replace")
        assert server.process.poll() is None, f"the server ended with {server.process.returncode}:\n{said}"
        try:
            if httpx.get(f"{server.url}/readyz", timeout=2, verify=server.tls or True).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready after {START_SECONDS} s:\n{server.log.read_text('utf-8', 'replace')}")
