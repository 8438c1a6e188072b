"""This machine: its load, and the limits that may bind before the GPUs do."""

import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import psutil

from whisper_ops.counter_delta import counter_increase
from whisper_ops.snapshot import HostFigures
from whisper_ops.telemetry import host
from whisper_ops.telemetry.control_groups import ControlGroups
from whisper_ops.wire import Host

T = TypeVar("T")


@dataclass(frozen=True)
class Usage:
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
    """Measures the machine, or the part of it that a control group leaves us. `read` takes about a millisecond.

    It blocks on nothing but /proc and /sys. Each figure is read apart, and one that cannot be read is unknown: without
    a free descriptor none of /proc can be. `failures` counts them, and `trouble` says the last one's reason.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.trouble: str | None = None
        self._front = self.attempt(lambda: ProcessMeter(os.getpid()))
        self._network: tuple[float, int, int] | None = None
        self._groups = self.attempt(ControlGroups)
        self._cpu = self.attempt(self._cpu_meter)
        soft, hard = host.descriptor_limits()
        self._known: dict[str, float | str | None] = {
            "hostname": self.attempt(socket.gethostname),
            "descriptors_soft_limit": soft,
            "descriptors_hard_limit": hard,
            "somaxconn": host.kernel_number("net/core/somaxconn"),
            "syn_backlog": host.kernel_number("net/ipv4/tcp_max_syn_backlog"),
            "port_range_low": host.kernel_number("net/ipv4/ip_local_port_range"),
            "port_range_high": host.kernel_number("net/ipv4/ip_local_port_range", 1),
            "conntrack_max": host.kernel_number("net/netfilter/nf_conntrack_max"),
        }

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
        memory = self.attempt(lambda: host.memory(self._groups))
        # Limits of a container may be changed while it runs; one that cannot be read now is as it was.
        self._keep("cpu_count", self.attempt(lambda: host.cores(self._groups)))
        self._keep("tasks_max", self.attempt(lambda: host.tasks_max(self._groups)))
        self._keep("memory_total_bytes", memory.total if memory else None)
        cpu = self._cpu
        return Host(
            **self._known,  # type: ignore[arg-type]  # the names are Host's own
            cpu_ratio=self.attempt(lambda: cpu.read(sum(ratios) if ratios else None)) if cpu else None,
            load_1m=self.attempt(lambda: psutil.getloadavg()[0]),
            memory_available_bytes=memory.available if memory else None,
            front_cpu_ratio=front.cpu_ratio if front else None,
            process_rss_bytes=sum(usage.rss_bytes for usage in known) if known else None,
            process_cpu_ratio=sum(ratios) if ratios else None,
            open_descriptors=self.attempt(_descriptors),
            sockets=host.sockets(),
            threads=self.attempt(lambda: psutil.Process().num_threads()),
            network_receive_bytes_per_second=received,
            network_send_bytes_per_second=sent,
        )

    def _cpu_meter(self) -> host.CpuMeter:
        return host.CpuMeter(self._groups or ControlGroups())

    def _keep(self, name: str, value: float | None) -> None:
        if value is not None:
            self._known[name] = value

    def _rates(self) -> tuple[float | None, float | None]:
        counters = psutil.net_io_counters()
        now = time.monotonic()
        before, self._network = self._network, (now, counters.bytes_recv, counters.bytes_sent)
        if before is None or now <= before[0]:
            return None, None
        span = now - before[0]
        # An interface that is taken away takes its bytes along.
        received = counter_increase(before[1], counters.bytes_recv)
        sent = counter_increase(before[2], counters.bytes_sent)
        return None if received is None else received / span, None if sent is None else sent / span


def _descriptors() -> int | None:
    own = psutil.Process()
    return own.num_fds() if hasattr(own, "num_fds") else None


def machine(meter: HostMeter) -> HostFigures:
    """The machine without a server: what a process uses is a server's own, and here it would be this program's."""
    read = msgspec.convert(meter.read(()), HostFigures, from_attributes=True)
    return msgspec.structs.replace(
        read, front_cpu_ratio=None, process_rss_bytes=None, process_cpu_ratio=None, open_descriptors=None, threads=None
    )
