"""What the limits of a machine allow, of the one this runs on or of one that a server reported.

What a connection takes is what was measured on this product: one descriptor (two behind a proxy on the same machine),
26 to 56 µs of the front's core for a frame, 27.5 KiB of the front's memory without compression, and up to 90 s of audio
kept until it is covered by text.
"""

import msgspec

from capacity.hosts.host_limits import (
    CONNECTION_TRACKING,
    RAM,
    SOFT_DESCRIPTORS,
    TASKS,
    UNLIMITED_DESCRIPTORS,
    HostLimits,
    Limit,
    descriptor_lines,
    share_of,
    sysctl_line,
)
from whisper_ops.formatting import plural_of
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


class HostUse(msgspec.Struct, frozen=True, kw_only=True):
    """How the machine will be used."""

    chunk_seconds: float = 0.1
    proxied: bool = False
    """Whether a proxy on this machine stands between clients and server, with a connection and a port each."""


def limits_of(host: HostFigures, use: HostUse, machine_cores: int | None = None) -> HostLimits:
    """What a host's figures allow, resource by resource.

    `machine_cores`: of the whole machine, whose the load is, where the host is a container with fewer.
    """
    limits = [
        *_descriptors(host, use),
        *_memory(host),
        *_front(use),
        *_ports(host, use),
        *_tables(host),
        *_backlogs(host),
    ]
    return HostLimits(limits=tuple(limits), notes=_notes(host, machine_cores))


def _descriptors(host: HostFigures, use: HostUse) -> list[Limit]:
    each = 2 if use.proxied else 1
    soft, hard = host.descriptors_soft_limit, host.descriptors_hard_limit
    limits = []
    if soft is not None:
        raised = hard or UNLIMITED_DESCRIPTORS
        limits.append(
            Limit(
                name=SOFT_DESCRIPTORS,
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
            name=RAM,
            have=f"{free / 1e9:.1f} GB free",
            each=f"{each / 1e6:.2f} MB at most",
            allows=share_of(free * _MEMORY_SHARE, each),
            note="without the model, which the plan measures",
        )
    ]


def _front(use: HostUse) -> list[Limit]:
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


def _ports(host: HostFigures, use: HostUse) -> list[Limit]:
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
                name=CONNECTION_TRACKING,
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
                name=TASKS,
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


def _notes(host: HostFigures, machine_cores: int | None) -> tuple[str, ...]:
    cores = max(machine_cores or 0, host.cpu_count or 0)
    if host.load_1m is not None and cores and host.load_1m > cores:
        return (f"the machine is busy now: load {host.load_1m:.1f} on {cores:g} {plural_of(cores, 'core')}",)
    return ()
