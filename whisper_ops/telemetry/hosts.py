"""This machine: its load, and the limits that may bind before the GPUs do."""

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from whisper_ops.wire import Host


def _number(path: str, column: int = 0) -> int | None:
    """A number in a file of /proc or /sys; None where there is none, or it says `max`."""
    try:
        return int(Path(path).read_text("ascii").split()[column])
    except (OSError, ValueError, IndexError):
        return None


def _tasks_max() -> int | None:
    """How many threads our control group may have: what systemd calls TasksMax."""
    try:
        group = Path("/proc/self/cgroup").read_text("ascii").strip().rpartition(":")[2]
    except OSError:
        return None
    return _number(f"/sys/fs/cgroup{group}/pids.max")


def _descriptor_limits() -> tuple[int | None, int | None]:
    try:
        import resource  # noqa: PLC0415  # not on every platform
    except ImportError:
        return None, None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return tuple(None if n == resource.RLIM_INFINITY else n for n in (soft, hard))  # type: ignore[return-value]  # two stay two


@dataclass(frozen=True)
class Usage:
    """What one process uses."""

    rss_bytes: int
    cpu_ratio: float | None


class ProcessMeter:
    """Measures one process again and again; ratios are of one core, since the last call."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process = psutil.Process(pid)
        self._before: tuple[float, float] | None = None

    def read(self) -> Usage | None:
        """None when the process is gone."""
        try:
            times, rss = self._process.cpu_times(), self._process.memory_info().rss
        except psutil.Error:
            return None
        now, cpu = time.monotonic(), times.user + times.system
        before, self._before = self._before, (now, cpu)
        ratio = (cpu - before[1]) / (now - before[0]) if before and now > before[0] else None
        return Usage(rss, ratio)


class HostMeter:
    """Measures the machine. `read` takes about a millisecond and blocks on nothing but /proc."""

    def __init__(self) -> None:
        self._front = ProcessMeter(os.getpid())
        self._network: tuple[float, int, int] | None = None
        soft, hard = _descriptor_limits()
        port = "/proc/sys/net/ipv4/ip_local_port_range"
        self._fixed = {
            "hostname": socket.gethostname(),
            "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count(),
            "memory_total_bytes": psutil.virtual_memory().total,
            "descriptors_soft_limit": soft,
            "descriptors_hard_limit": hard,
            "tasks_max": _tasks_max(),
            "somaxconn": _number("/proc/sys/net/core/somaxconn"),
            "syn_backlog": _number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
            "port_range_low": _number(port),
            "port_range_high": _number(port, 1),
            "conntrack_max": _number("/proc/sys/net/netfilter/nf_conntrack_max"),
        }
        psutil.cpu_percent(None)

    def read(self, workers: Iterable[Usage | None]) -> Host:
        """The machine now; `workers` are the readings of the worker processes."""
        front = self._front.read()
        known = [usage for usage in (front, *workers) if usage]
        ratios = [usage.cpu_ratio for usage in known if usage.cpu_ratio is not None]
        received, sent = self._rates()
        own = psutil.Process()
        return Host(
            **self._fixed,  # type: ignore[arg-type]  # the names are Host's own
            cpu_ratio=psutil.cpu_percent(None) / 100,
            load_1m=psutil.getloadavg()[0],
            memory_available_bytes=psutil.virtual_memory().available,
            front_cpu_ratio=front.cpu_ratio if front else None,
            process_rss_bytes=sum(usage.rss_bytes for usage in known),
            process_cpu_ratio=sum(ratios) if ratios else None,
            open_descriptors=own.num_fds() if hasattr(own, "num_fds") else None,
            sockets=_sockets(),
            threads=own.num_threads(),
            network_receive_bytes_per_second=received,
            network_send_bytes_per_second=sent,
        )

    def _rates(self) -> tuple[float | None, float | None]:
        counters = psutil.net_io_counters()
        now = time.monotonic()
        before, self._network = self._network, (now, counters.bytes_recv, counters.bytes_sent)
        if before is None or now <= before[0]:
            return None, None
        span = now - before[0]
        return (counters.bytes_recv - before[1]) / span, (counters.bytes_sent - before[2]) / span


def _sockets() -> int | None:
    """Sockets in use on the machine; reading this line costs microseconds, listing connections costs milliseconds."""
    return _number("/proc/net/sockstat", 2)
