"""The members' hosts as one: sums of resources and usage, the tightest of the limits that do not add up.

Members on one machine report the same machine: its resources are counted once.
"""

from collections.abc import Callable, Iterable, Sequence

from whisper_ops import wire

_SUMS_OF_MACHINES = (
    "cpu_count", "memory_total_bytes", "memory_available_bytes", "sockets", "conntrack_max", "load_1m",
    "network_receive_bytes_per_second", "network_send_bytes_per_second",
)  # fmt: skip
_SUMS_OF_PROCESSES = (
    "process_rss_bytes", "process_cpu_ratio", "open_descriptors", "descriptors_soft_limit", "descriptors_hard_limit",
    "threads", "tasks_max",
)  # fmt: skip
_LEAST = ("somaxconn", "syn_backlog", "port_range_high")
_MOST = ("front_cpu_ratio", "port_range_low")
"""A front process is one event loop: the busiest one limits the fleet."""


def combined_host(hosts: Sequence[wire.Host]) -> wire.Host:
    """One host for the fleet; a figure is unknown where a member does not know its own."""
    machines = list({host.hostname or index: host for index, host in enumerate(hosts)}.values())
    names = [host.hostname for host in machines]
    figures = {name: _combined(machines, name, sum) for name in _SUMS_OF_MACHINES}
    figures |= {name: _combined(hosts, name, sum) for name in _SUMS_OF_PROCESSES}
    figures |= {name: _combined(hosts, name, min) for name in _LEAST}
    figures |= {name: _combined(hosts, name, max) for name in _MOST}
    return wire.Host(hostname=names[0] if len(names) == 1 else None, cpu_ratio=_cpu_ratio(machines), **figures)  # type: ignore[arg-type]  # each is of its field's type


def _combined(hosts: Sequence[wire.Host], name: str, combine: Callable[[Iterable[float]], float]) -> float | None:
    values = [getattr(host, name) for host in hosts]
    return combine(values) if values and None not in values else None


def _cpu_ratio(machines: Sequence[wire.Host]) -> float | None:
    """The busy share of all their cores together."""
    parts = [(host.cpu_ratio, host.cpu_count) for host in machines]
    known = [(ratio, cores) for ratio, cores in parts if ratio is not None and cores]
    cores = sum(cores for _, cores in known)
    return sum(ratio * count for ratio, count in known) / cores if cores and len(known) == len(parts) else None
