"""The limits of the machine this runs on, read from the kernel, and of one that a server reported.

What a connection takes is what was measured on this product: one descriptor (two behind a proxy on the same machine),
26 to 56 µs of the front's core for a frame, 27.5 KiB of the front's memory without compression, and up to 90 s of audio
kept until it is covered by text.
"""

import os
import resource
from pathlib import Path

import msgspec
import psutil

from capacity.hosts.limits import UNLIMITED_DESCRIPTORS, Host, Limit, descriptor_lines, share_of, sysctl_line
from whisper_ops.snapshot import HostFigures

FRAME_SECONDS = (26e-6, 56e-6)
"""Processor time of the front for one 640-byte frame, the better and the worse case."""
FRONT_BYTES = 27.5 * 1024
AUDIO_BYTES = 90 * 16000 * 2
"""90 s of 16-bit audio at 16 kHz: where back-pressure closes a connection."""
_USED_DESCRIPTORS = 64
_CORE_SHARE = 0.9
_MEMORY_SHARE = 0.9
_BURST = 128
"""Connections that may arrive at once; a backlog below it loses some of them."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How the machine will be used."""

    chunk_seconds: float = 0.1
    proxied: bool = False
    """Whether a proxy on this machine stands between clients and server, with a connection and a port each."""


def read_local() -> HostFigures:
    """This machine's figures; what a system does not have or does not show is None."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low, high = _numbers("/proc/sys/net/ipv4/ip_local_port_range", 2)
    return HostFigures(
        hostname=os.uname().nodename,
        cpu_count=usable_cores(),
        memory_total_bytes=float(psutil.virtual_memory().total),
        memory_available_bytes=float(psutil.virtual_memory().available),
        descriptors_soft_limit=_finite(soft),
        descriptors_hard_limit=_finite(hard),
        tasks_max=tasks_max(),
        somaxconn=_numbers("/proc/sys/net/core/somaxconn", 1)[0],
        syn_backlog=_numbers("/proc/sys/net/ipv4/tcp_max_syn_backlog", 1)[0],
        port_range_low=low,
        port_range_high=high,
        conntrack_max=_numbers("/proc/sys/net/netfilter/nf_conntrack_max", 1)[0],
        load_1m=os.getloadavg()[0],
    )


def limits_of(host: HostFigures, use: Use) -> Host:
    """What a host's figures allow, resource by resource."""
    limits = [
        *_descriptors(host, use),
        *_memory(host),
        *_front(use),
        *_ports(host, use),
        *_tables(host),
        *_backlogs(host),
    ]
    return Host(limits=tuple(limits), notes=_notes(host))


def usable_cores() -> int:
    """Cores this process may use: its affinity, and a container's quota rounded down to at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _first_line("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def tasks_max() -> int | None:
    """The most tasks (threads) this process' control group may hold; None where there is no such limit."""
    for line in _first_line("/proc/self/cgroup").splitlines():
        path = line.split(":", 2)[-1]
        value = _first_line(f"/sys/fs/cgroup{path}/pids.max") or _first_line("/sys/fs/cgroup/pids.max")
        if value.isdigit():
            return int(value)
    return _numbers("/proc/sys/kernel/threads-max", 1)[0]


def _descriptors(host: HostFigures, use: Use) -> list[Limit]:
    each = 2 if use.proxied else 1
    soft, hard = host.descriptors_soft_limit, host.descriptors_hard_limit
    limits = []
    if soft is not None:
        raised = hard or UNLIMITED_DESCRIPTORS
        limits.append(
            Limit(
                name="descriptors (soft limit)",
                have=f"{soft:,} soft",
                each=str(each),
                allows=max(share_of(soft - _USED_DESCRIPTORS, each), 0),
                configured=True,
                fix=descriptor_lines(raised) if raised > soft else (),
            )
        )
    if hard is not None:
        limits.append(
            Limit(
                name="descriptors (hard limit)",
                have=f"{hard:,} hard",
                each=str(each),
                allows=share_of(hard - _USED_DESCRIPTORS, each),
            )
        )
    return limits


def _memory(host: HostFigures) -> list[Limit]:
    free = host.memory_available_bytes
    if free is None:
        return []
    each = FRONT_BYTES + AUDIO_BYTES
    return [
        Limit(
            name="RAM",
            have=f"{free / 1e9:.1f} GB free",
            each=f"{each / 1e6:.2f} MB at most",
            allows=share_of(free * _MEMORY_SHARE, each),
            note="without the model, which the plan measures",
        )
    ]


def _front(use: Use) -> list[Limit]:
    frames = 1 / use.chunk_seconds
    fast, slow = (frames * seconds for seconds in FRAME_SECONDS)
    return [
        Limit(
            name="front core",
            have=f"{_CORE_SHARE:.0%} of one core",
            each=f"{fast:.2%} to {slow:.2%} at {frames:g} frames/s",
            allows=share_of(_CORE_SHARE, slow),
            note="one serial loop; beyond it run one server per group of GPUs",
        )
    ]


def _ports(host: HostFigures, use: Use) -> list[Limit]:
    low, high = host.port_range_low, host.port_range_high
    if low is None or high is None:
        return []
    count = high - low + 1
    fix = sysctl_line("net.ipv4.ip_local_port_range", "1024 65535") if low > 1024 else ()
    note = "" if use.proxied else "only where a proxy or a load generator runs on this machine"
    return [
        Limit(
            name="ephemeral ports",
            have=f"{count:,}",
            each="1" if use.proxied else "0",
            allows=count if use.proxied else None,
            configured=True,
            fix=fix if use.proxied else (),
            note=note,
        )
    ]


def _tables(host: HostFigures) -> list[Limit]:
    limits = []
    if host.conntrack_max is not None:
        limits.append(
            Limit(
                name="connection tracking",
                have=f"{host.conntrack_max:,} entries",
                each="1",
                allows=host.conntrack_max,
                configured=True,
                fix=sysctl_line("net.netfilter.nf_conntrack_max", 262144) if host.conntrack_max < 65536 else (),
            )
        )
    if host.tasks_max is not None:
        few = host.tasks_max < 512
        limits.append(
            Limit(
                name="tasks",
                have=f"{host.tasks_max:,} tasks",
                each="0",
                allows=None,
                configured=True,
                fix=("# in the [Service] section of the server's systemd unit", "TasksMax=4096") if few else (),
                note="threads do not grow with connections; a server takes about 100 a GPU",
            )
        )
    return limits


def _backlogs(host: HostFigures) -> list[Limit]:
    limits = []
    for name, value, setting in (
        ("somaxconn", host.somaxconn, "net.core.somaxconn"),
        ("SYN backlog", host.syn_backlog, "net.ipv4.tcp_max_syn_backlog"),
    ):
        if value is None:
            continue
        limits.append(
            Limit(
                name=name,
                have=f"{value:,} waiting",
                each="arrivals at once",
                allows=None,
                configured=True,
                fix=sysctl_line(setting, 4096) if value < _BURST else (),
                note="how many may arrive at the same moment, not how many may stay",
            )
        )
    return limits


def _notes(host: HostFigures) -> tuple[str, ...]:
    if host.load_1m is not None and host.cpu_count and host.load_1m > host.cpu_count:
        return (f"the machine is busy now: load {host.load_1m:.1f} on {host.cpu_count} cores",)
    return ()


def _finite(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY or value > 2**60 else value


def _numbers(path: str, count: int) -> list[int | None]:
    parts = _first_line(path).split()
    return [int(part) for part in parts[:count]] if len(parts) >= count else [None] * count


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
