"""How busy other programs keep the server's machine while a level runs: what neither the server nor we used of it."""

import socket
import time
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from capacity.loadgen.messages import Finished
from whisper_ops.snapshot import GpuFigures, HostFigures, Snapshot

MOST_SHARE = 0.20
"""Of a machine's processor time. Beyond it a level says as much about the other programs as about the server."""


class GpuOthers(NamedTuple):
    """What other programs did on the GPU that they used most."""

    share: float | None
    """Of its time, 0 to 1; None: the driver does not say."""
    programs: tuple[str, ...]


def on_gpus(snapshots: Sequence[Snapshot]) -> GpuOthers | None:
    """Other processes on the server's GPUs meanwhile; None: there were none, or the server does not say."""
    by_gpu: dict[tuple[str, int], list[GpuFigures]] = {}
    for snapshot in snapshots:
        for gpu in snapshot.gpus:
            by_gpu.setdefault((snapshot.server, gpu.gpu_id), []).append(gpu)
    found = []
    for polled in by_gpu.values():
        programs = tuple(dict.fromkeys(name for gpu in polled for name in gpu.other_processes or ()))
        shares = [gpu.other_busy_ratio for gpu in polled if gpu.other_busy_ratio is not None]
        if programs:
            found.append(GpuOthers(mean(shares) if shares else None, programs))
    return max(found, key=lambda others: others.share or 0.0, default=None)


class OwnCost:
    """What this process uses from its making on, in cores; its generators report theirs themselves."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), time.process_time()

    def cores(self) -> float:
        """Mean so far."""
        return (time.process_time() - self._used) / max(time.monotonic() - self._began, 1e-3)


def generator_cores(parts: Sequence[Finished]) -> float:
    """What all generator processes used together, in cores."""
    return sum(part.cpu_seconds / part.wall_seconds for part in parts if part.wall_seconds > 0)


def other_share(snapshots: Sequence[Snapshot], own_cores: float) -> float | None:
    """The share of the machine's processor time that other programs took, 0 to 1; None where the server does not say.

    Args:
        snapshots: the server's answers meanwhile.
        own_cores: what the load test itself used, which counts where it runs on the server's machine.
    """
    machines: dict[str | None, dict[str | None, list[HostFigures]]] = {}
    for snapshot in snapshots:
        if snapshot.host is not None:
            servers = machines.setdefault(snapshot.host.hostname, {})
            servers.setdefault(snapshot.server_id, []).append(snapshot.host)
    found = [_on_machine(name, list(servers.values()), own_cores) for name, servers in machines.items()]
    shares = [share for share in found if share is not None]
    return max(shares, default=None)


def _on_machine(name: str | None, servers: Sequence[Sequence[HostFigures]], own_cores: float) -> float | None:
    """The same of one machine, on which several servers of the service may run: none of them is another program."""
    busy = [host.cpu_ratio for polled in servers for host in polled if host.cpu_ratio is not None]
    cores = next((host.cpu_count for polled in servers for host in polled if host.cpu_count), None)
    used = [[host.process_cpu_ratio for host in polled if host.process_cpu_ratio is not None] for polled in servers]
    if not busy or cores is None or not all(used):
        return None
    ours = own_cores if name == socket.gethostname() else 0.0
    return max(0.0, mean(busy) - (sum(map(mean, used)) + ours) / cores)
