"""Two machines of a Ray cluster on this one: nodes at loopback addresses of their own, and everything of them ended."""

import contextlib
import os
import random
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# As a careful user has it, and without a file in anybody's home.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
_NODE: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80 << 20}


def until(condition: Callable[[], bool], seconds: float, what: str = "it did not come to pass") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


class Node:
    """One machine: Ray's own processes there, and the servers that its workers started."""

    def __init__(self, cluster: Any, host: str, cpus: int) -> None:
        self.host, self._cluster = host, cluster
        self.ray = cluster.add_node(num_cpus=cpus, node_ip_address=host, **_NODE)
        self.address = str(self.ray.gcs_address)

    def servers(self) -> list[psutil.Process]:
        """Of `whisper-ops serve`, by the address that no other node has."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "serve" in words and self.host in words and "--lease" in words:
                    found.append(process)
        return found

    def power_off(self) -> None:
        """Everything on it is gone at once."""
        ours = self.servers()
        for process in ours:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        self.lose_ray()

    def lose_ray(self) -> None:
        """Ray ends there, and nothing else does."""
        with contextlib.suppress(Exception):
            if self.ray is self._cluster.head_node:
                self._cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
            else:
                self._cluster.remove_node(self.ray, allow_graceful=False)


class Nodes:
    """A cluster and its machines; the first is its head."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._net = f"127.{random.randint(1, 250)}.{random.randint(0, 250)}"
        self.all: list[Node] = []

    def add(self, cpus: int = 2) -> Node:
        node = Node(self._cluster, f"{self._net}.{len(self.all) + 2}", cpus)
        self.all.append(node)
        return node

    @property
    def address(self) -> str:
        return self.all[0].address

    def end(self) -> None:
        with contextlib.suppress(Exception):
            self._cluster.shutdown()
        for node in self.all:
            for process in node.servers():
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
        # Whatever of Ray outlived that (its agents notice late) bears the address of one of our nodes.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if f"{self._net}." in " ".join(process.cmdline()) and process.pid != os.getpid():
                    process.kill()


@contextlib.contextmanager
def ray_nodes() -> Iterator[Nodes]:
    """Whatever happens in the block, no process of it is left."""
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.end()


def kill(process: subprocess.Popen[bytes]) -> None:
    """A command is gone, as if its machine had lost power."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
