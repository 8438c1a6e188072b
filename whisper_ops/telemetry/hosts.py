"""This machine: its load, and the limits that may bind before the GPUs do."""

import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from whisper_ops.counting import risen
from whisper_ops.wire import Host

T = TypeVar("T")


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
    """Measures the machine. `read` takes about a millisecond and blocks on nothing but /proc.

    Each figure is read apart, and one that cannot be read is unknown: without a free descriptor none of /proc can be.
    `failures` counts them, and `trouble` says the last one's reason.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.trouble: str | None = None
        self._front = self.attempt(lambda: ProcessMeter(os.getpid()))
        self._network: tuple[float, int, int] | None = None
        soft, hard = _descriptor_limits()
        port = "/proc/sys/net/ipv4/ip_local_port_range"
        self._fixed = {
            "hostname": self.attempt(socket.gethostname),
            "cpu_count": self.attempt(_cores),
            "memory_total_bytes": self.attempt(lambda: psutil.virtual_memory().total),
            "descriptors_soft_limit": soft,
            "descriptors_hard_limit": hard,
            "tasks_max": _tasks_max(),
            "somaxconn": _number("/proc/sys/net/core/somaxconn"),
            "syn_backlog": _number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
            "port_range_low": _number(port),
            "port_range_high": _number(port, 1),
            "conntrack_max": _number("/proc/sys/net/netfilter/nf_conntrack_max"),
        }
        self.attempt(psutil.cpu_percent)

    def attempt(self, read: Callable[[], T]) -> T | None:
        """A reading, or None when it cannot be had."""
        try:
            return read()
        except Exception as error:  # noqa: BLE001  # whatever a reading raises, the server goes on without it
            self.failed(error)
            return None

    def failed(self, error: Exception) -> None:
        """Count a reading that could not be had."""
        self.failures += 1
        self.trouble = f"{type(error).__name__}: {error}"

    def read(self, workers: Iterable[Usage | None]) -> Host:
        """The machine now; `workers` are the readings of the worker processes."""
        front = self.attempt(self._front.read) if self._front else None
        known = [usage for usage in (front, *workers) if usage]
        ratios = [usage.cpu_ratio for usage in known if usage.cpu_ratio is not None]
        received, sent = self.attempt(self._rates) or (None, None)
        return Host(
            **self._fixed,  # type: ignore[arg-type]  # the names are Host's own
            cpu_ratio=self.attempt(lambda: psutil.cpu_percent(None) / 100),
            load_1m=self.attempt(lambda: psutil.getloadavg()[0]),
            memory_available_bytes=self.attempt(lambda: psutil.virtual_memory().available),
            front_cpu_ratio=front.cpu_ratio if front else None,
            process_rss_bytes=sum(usage.rss_bytes for usage in known) if known else None,
            process_cpu_ratio=sum(ratios) if ratios else None,
            open_descriptors=self.attempt(_descriptors),
            sockets=_sockets(),
            threads=self.attempt(lambda: psutil.Process().num_threads()),
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
        # An interface that is taken away takes its bytes along.
        received, sent = risen(before[1], counters.bytes_recv), risen(before[2], counters.bytes_sent)
        return None if received is None else received / span, None if sent is None else sent / span


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()


def _descriptors() -> int | None:
    own = psutil.Process()
    return own.num_fds() if hasattr(own, "num_fds") else None


def _sockets() -> int | None:
    """Sockets in use on the machine; reading this line costs microseconds, listing connections costs milliseconds."""
    return _number("/proc/net/sockstat", 2)
