"""The limits of a host on paper, one a resource that the profile speaks of, and the lines that raise settings."""

import math
from collections.abc import Callable, Iterable, Iterator

import msgspec

from capacity.hosts.amounts import AmountRange
from capacity.hosts.host_limits import (
    CONNECTION_TRACKING,
    CPU,
    FILE_MAX,
    PORTS,
    RAM,
    SOFT_DESCRIPTORS,
    SOMAXCONN,
    SYN_BACKLOG,
    TASKS,
    UNLIMITED_DESCRIPTORS,
    Limit,
    descriptor_lines,
    share_of,
    sysctl_line,
)
from capacity.hosts.profile import Profile

_RAISABLE = ("can be raised",)
"""Stands for the lines of a setting until it is known for how many calls it must be raised."""
_LEAST_BACKLOG = 4096
_LEAST_ENTRIES = 262_144
_LEAST_TASKS = 4096
_ROOM = 2
"""Settings are raised to so many times what is needed; they cost nothing until they are used."""


def limits_of(profile: Profile) -> Iterator[Limit]:
    """What each resource allows, in the order in which they are shown; settings that can be raised are marked so."""
    cores = None if profile.cores is None else profile.cores * profile.efficiency
    yield from _limit(profile, RAM, profile.memory_free, "memory", lambda have: f"{amount(have, 'memory')} free")
    yield from _limit(profile, CPU, cores, "cpu", lambda _: _cores(profile))
    yield from _limit(profile, PORTS, profile.ports, "ports", lambda have: f"{have:,.0f} ephemeral ports")
    hard, soft = profile.descriptors_hard, profile.descriptors_soft
    yield from _limit(profile, "descriptors (hard limit)", hard, "descriptors", lambda have: f"{have:,.0f} hard")
    raisable = soft is not None and (UNLIMITED_DESCRIPTORS if hard is None else hard) > soft
    yield from _setting(
        profile, SOFT_DESCRIPTORS, soft, "descriptors", lambda have: f"{have:,.0f} soft", raisable=raisable
    )
    yield from _setting(
        profile, FILE_MAX, profile.file_max, "descriptors", lambda have: f"{have:,.0f} open files in all"
    )
    yield from _setting(
        profile, CONNECTION_TRACKING, profile.conntrack_max, "ports", lambda have: f"{have:,.0f} entries"
    )
    if profile.tasks_max is not None:
        if "tasks" in profile.takes:
            yield from _setting(profile, TASKS, profile.tasks_max, "tasks", lambda have: f"TasksMax {have:,.0f}")
        else:
            yield _unlimited(TASKS, profile.tasks_max, f"TasksMax {profile.tasks_max:,.0f}", "—")
    for name, value in ((SOMAXCONN, profile.somaxconn), (SYN_BACKLOG, profile.syn_backlog)):
        if value is not None:
            yield _unlimited(name, value, f"{value:,.0f} waiting", "arrivals at once")


def _limit(profile: Profile, name: str, have: float | None, key: str, words: Callable[[float], str]) -> Iterator[Limit]:
    if have is None or key not in profile.takes:
        return
    each = profile.takes[key].total
    yield Limit(
        name=name,
        have=words(have),
        each=span_text(each, key),
        each_planned=amount(each.typical, key),
        there_is=have,
        allows=share_of(have, each.typical),
        least=share_of(have, each.high),
        most=share_of(have, each.low),
    )


def _setting(
    profile: Profile, name: str, have: float | None, key: str, words: Callable[[float], str], *, raisable: bool = True
) -> Iterator[Limit]:
    for limit in _limit(profile, name, have, key, words):
        yield msgspec.structs.replace(limit, configured=True, fix=_RAISABLE if raisable else ())


def _unlimited(name: str, value: float, have: str, each: str) -> Limit:
    return Limit(name=name, have=have, each=each, there_is=value, allows=None, configured=True, fix=_RAISABLE)


def raised(limits: Iterable[Limit], profile: Profile, reach: int) -> Iterator[Limit]:
    """The limits with the lines that raise each setting far enough for `reach` calls."""
    for limit in limits:
        fix = settings(limit.name, profile, reach) if limit.fix or limit.name == PORTS else ()
        yield msgspec.structs.replace(limit, fix=fix)


def settings(name: str, profile: Profile, reach: int) -> tuple[str, ...]:
    """The lines that raise one setting far enough for `reach` calls."""
    if name == SOFT_DESCRIPTORS:
        hard = profile.descriptors_hard
        return descriptor_lines(int(hard if hard is not None else max(65536.0, wanted(name, profile, reach))))
    if name == TASKS:
        lines = f"TasksMax={wanted(name, profile, reach)}"
        return ("# in the [Service] section of the server's systemd unit", lines)
    if name == PORTS:
        return sysctl_line("net.ipv4.ip_local_port_range", "1024 65535")
    return sysctl_line(SYSCTL[name], wanted(name, profile, reach))


SYSCTL = {
    FILE_MAX: "fs.file-max",
    CONNECTION_TRACKING: "net.netfilter.nf_conntrack_max",
    SOMAXCONN: "net.core.somaxconn",
    SYN_BACKLOG: "net.ipv4.tcp_max_syn_backlog",
}
_OF = {
    FILE_MAX: "descriptors", SOFT_DESCRIPTORS: "descriptors", CONNECTION_TRACKING: "ports", TASKS: "tasks",
}  # fmt: skip
"""What of a call a setting holds."""
_LEAST = {
    SOMAXCONN: _LEAST_BACKLOG, SYN_BACKLOG: _LEAST_BACKLOG, CONNECTION_TRACKING: _LEAST_ENTRIES,
    TASKS: _LEAST_TASKS, FILE_MAX: 2**20, SOFT_DESCRIPTORS: 65536,
}  # fmt: skip


def wanted(name: str, profile: Profile, reach: int) -> int:
    """The value of a setting for `reach` calls: the next power of two with room, and never less than there is."""
    takes = profile.takes.get(_OF.get(name, ""))
    each = 1.0 if takes is None else takes.total.high
    there_is = {
        FILE_MAX: profile.file_max, CONNECTION_TRACKING: profile.conntrack_max, TASKS: profile.tasks_max,
        SOMAXCONN: profile.somaxconn, SYN_BACKLOG: profile.syn_backlog,
        SOFT_DESCRIPTORS: profile.descriptors_soft,
    }[name]  # fmt: skip
    needed = max(_ROOM * reach * each, _LEAST[name])
    if there_is is not None and there_is >= _ROOM * reach * each:
        return int(there_is)
    return 1 << math.ceil(math.log2(needed))


def span_text(value: AmountRange, key: str) -> str:
    """`25 MB (15 to 30)`: what is planned with, and the ends."""
    if value.is_exact:
        return amount(value.typical, key)
    _, scale = _unit(value.typical, key)
    return f"{amount(value.typical, key)} ({value.low / scale:.4g} to {value.high / scale:.4g})"


def amount(value: float, key: str) -> str:
    """An amount of memory, processor or anything that is counted, in words."""
    unit, scale = _unit(value, key)
    if key in ("memory", "cpu"):
        return f"{value / scale:,.4g}{unit}"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def _unit(value: float, key: str) -> tuple[str, float]:
    if key == "memory":
        return (" GB", 1e9) if abs(value) >= 1e9 else (" MB", 1e6)
    if key == "cpu":
        return (" %", 0.01) if abs(value) < 1 else (" cores", 1.0)
    return "", 1.0


def _cores(profile: Profile) -> str:
    share = "" if profile.efficiency == 1 else f", {profile.efficiency:.3g} of their time"
    return f"{profile.cores or 0:g} cores{share}"
