"""A host on paper: what each of its resources allows, how near each is to binding, and what loads leave free."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from capacity.hosts.amounts import AmountRange
from capacity.hosts.host_limits import CPU, PORTS, RAM, HostLimits, Limit, share_of
from capacity.hosts.paper_limits import limits_of, raised
from capacity.hosts.profile import Profile
from capacity.hosts.verdicts import ProcessorShare, Verdict, verdict
from capacity.tiers import RECOMMENDED, cut, tiers

LOADS = (100, 200, 500, 1000, 2000)
_IN_BYTES = {"memory_total": "memory_total_bytes", "memory_free": "memory_free_bytes"}


class ResourceUse(msgspec.Struct, frozen=True, kw_only=True):
    """What calls use of one resource and leave of it, in base units; a negative rest is what is missing."""

    name: str
    used: AmountRange
    there_is: float
    free: float


class CallLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of calls uses of every resource, and which of them is short."""

    connections: int
    uses: tuple[ResourceUse, ...]
    short: tuple[str, ...]
    """What does not allow so many, planned with typical amounts and with settings raised."""
    settings: tuple[str, ...]
    """Settings that must be raised for so many."""
    waiting: Literal["", "fits", "may fit"] = ""
    """Where only the processor is short: whether it carries calls that wait."""


class HostTier(msgspec.Struct, frozen=True, kw_only=True):
    """A way to run this host. Amounts are of calls with typical ones; None: nothing was said of it."""

    name: str
    connections: int
    cut: str
    stability: str
    cpu_cores: float | None = None
    cpu_ratio: float | None = None
    cpu_cores_waiting: AmountRange | None = None
    """Where calls wait as much as was said."""
    memory_bytes: float | None = None
    memory_in_use_bytes: float | None = None
    """Of the whole host: what is used today, and what the calls take."""


class HostFleet(msgspec.Struct, frozen=True, kw_only=True):
    """Machines like this one for a demand."""

    calls: int
    per_machine: int
    machines: int
    spare_machines: int


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """All that follows from a profile."""

    profile: Profile
    host: HostLimits
    reach: int
    """The calls that verdicts and settings are for: the most that the binding resource may carry."""
    waiting: ProcessorShare | None
    verdicts: tuple[Verdict, ...]
    loads: tuple[CallLoad, ...]
    current: HostTier | None
    tiers: tuple[HostTier, ...]
    tiers_after_fixes: tuple[HostTier, ...]
    asked: bool
    """Whether a demand was to be carried."""
    fleet: HostFleet | None
    """None: none was asked for, or not one call fits."""
    notes: tuple[str, ...]


def analyse(profile: Profile, target: int | None = None, survive: int = 0) -> Analysis:
    """Everything that follows from a profile; with `target`, the calls that must fit at once, on how many machines."""
    host = HostLimits(limits=tuple(limits_of(profile)))
    waiting = _waiting(profile, host)
    reach = _reach(host, waiting)
    host = HostLimits(limits=tuple(raised(host.limits, profile, reach)))
    verdicts = tuple(verdict(limit, host, waiting, reach) for limit in host.limits)
    after = host.after_fixes
    numbers = sorted({*LOADS, *([target] if target else [])})
    return Analysis(
        profile=profile,
        host=host,
        reach=reach,
        waiting=waiting,
        verdicts=verdicts,
        loads=tuple(_load(profile, host, waiting, number) for number in numbers),
        current=_current(profile),
        tiers=_tiers(profile, host, host.first, None),
        tiers_after_fixes=_tiers(profile, host, after, waiting),
        asked=target is not None,
        fleet=None if target is None else _fleet(after, target, survive),
        notes=tuple(_notes(profile)),
    )


def _waiting(profile: Profile, host: HostLimits) -> ProcessorShare | None:
    cpu = next((limit for limit in host.limits if limit.name == CPU), None)
    if profile.duty is None or cpu is None or cpu.allows is None:
        return None
    duty = profile.duty
    cores, each = (profile.cores or 0) * profile.efficiency, profile.takes["cpu"].total.typical
    return ProcessorShare(duty=duty, low=share_of(cores, each * duty.high), high=share_of(cores, each * duty.low))


def _reach(host: HostLimits, waiting: ProcessorShare | None) -> int:
    after = host.after_fixes
    carried = 0 if after is None else after.allows or 0
    with_waiting = waiting.high if waiting is not None and after is not None and after.name == CPU else 0
    return max(carried, with_waiting)


def _load(profile: Profile, host: HostLimits, waiting: ProcessorShare | None, number: int) -> CallLoad:
    missing = [limit for limit in host.ranked if (limit.allows or 0) < number]
    short = tuple(limit.name for limit in missing if not (limit.configured and limit.fix))
    carried = ""
    if short == (CPU,) and waiting is not None:
        carried = "fits" if number <= waiting.low else "may fit" if number <= waiting.high else ""
    return CallLoad(
        connections=number,
        uses=tuple(_uses(profile, number)),
        short=short,
        settings=tuple(limit.name for limit in missing if limit.configured and limit.fix),
        waiting=carried,  # type: ignore[arg-type]  # one of the three words above
    )


def _uses(profile: Profile, number: int) -> list[ResourceUse]:
    descriptors = profile.descriptors_soft if profile.descriptors_hard is None else profile.descriptors_hard
    cores = None if profile.cores is None else profile.cores * profile.efficiency
    found = []
    for name, key, there_is in (
        (CPU, "cpu", cores),
        (RAM, "memory", profile.memory_free),
        ("descriptors", "descriptors", descriptors),
        (PORTS, "ports", profile.ports),
    ):
        if there_is is None or key not in profile.takes:
            continue
        each = profile.takes[key].total
        used = each.times(number)
        found.append(ResourceUse(name=name, used=used, there_is=there_is, free=there_is - used.typical))
    return found


def _tiers(
    profile: Profile, host: HostLimits, limit: Limit | None, waiting: ProcessorShare | None
) -> tuple[HostTier, ...]:
    if limit is None or not limit.allows:
        return ()
    upper, above = _upper(host, limit, waiting)
    made = tiers(limit.allows, upper, (), all_of_it="all of it", above=above)
    return tuple(_tier(profile, tier.name, tier.connections, tier.cut, tier.stability) for tier in made)


def _upper(host: HostLimits, limit: Limit, waiting: ProcessorShare | None) -> tuple[int | None, str]:
    """The upper end of what a limit allows, which no other resource may deny, and how it comes about."""
    if limit is not host.after_fixes:
        return None, ""
    if waiting is not None and limit.name == CPU:
        upper, how = waiting.high, "with all the waiting of the profile"
    else:
        upper, how = limit.most or 0, "where each call takes the least of its range"
    others = [other for other in host.ranked if other is not limit and not (other.configured and other.fix)]
    upper = min([upper, *(other.allows or 0 for other in others)])
    return (upper, how) if upper > (limit.allows or 0) else (None, "")


def _tier(profile: Profile, name: str, connections: int, how: str, stability: str) -> HostTier:
    cpu, memory = (profile.takes[key].total.typical if key in profile.takes else None for key in ("cpu", "memory"))
    taken = None if memory is None else memory * connections
    return HostTier(
        name=name,
        connections=connections,
        cut=how,
        stability=stability,
        cpu_cores=None if cpu is None else cpu * connections,
        cpu_ratio=None if cpu is None or not profile.cores else cpu * connections / profile.cores,
        cpu_cores_waiting=None if cpu is None or profile.duty is None else profile.duty.times(cpu * connections),
        memory_bytes=taken,
        memory_in_use_bytes=None if taken is None or (now := _in_use(profile)) is None else now + taken,
    )


def _in_use(profile: Profile) -> float | None:
    if profile.memory_total is None or profile.memory_free is None:
        return None
    return profile.memory_total - profile.memory_free


def _current(profile: Profile) -> HostTier | None:
    """What runs today: its memory is measured, and its processor time is what so many calls take."""
    if profile.connections_now is None:
        return None
    row = _tier(profile, "current", int(profile.connections_now), "today", "as it runs")
    return msgspec.structs.replace(row, memory_in_use_bytes=_in_use(profile))


def _fleet(limit: Limit | None, target: int, survive: int) -> HostFleet | None:
    if limit is None or not limit.allows:
        return None
    each = cut(limit.allows, RECOMMENDED)
    return HostFleet(
        calls=target,
        per_machine=each,
        machines=math.ceil(target / each) + survive,
        spare_machines=survive,
    )


def _notes(profile: Profile) -> Sequence[str]:
    notes = ["these are sums on paper; what a call really takes, a sweep measures: whisper-ops sweep URL"]
    if profile.connections_now and profile.memory_free is not None and "memory" in profile.takes:
        notes.append(
            f"the free memory is what the {profile.connections_now:,.0f} connections of today leave; calls are added "
            "to them"
        )
    if any(not takes.total.is_exact for takes in profile.takes.values()):
        notes.append(
            "of a range the typical amount of the profile is planned with, or the middle where it has none (counts "
            "rounded up)"
        )
    if profile.duty is not None:
        notes.append(
            "the limit assumes that each call needs its processor time all the time; figures with waiting are for "
            "calls that wait as much as the profile says"
        )
    return notes


def _host(profile: Profile) -> dict[str, object]:
    said = msgspec.to_builtins(profile)
    return {_IN_BYTES.get(key, key): value for key, value in said.items() if key != "takes"}


def document(analysis: Analysis) -> dict[str, object]:
    """The body of its JSON."""
    host = analysis.host
    standing = {verdict.name: verdict for verdict in analysis.verdicts}
    return {
        "host": _host(analysis.profile),
        "per_call": {
            name: {"causes": msgspec.to_builtins(takes.causes), "total": msgspec.to_builtins(takes.total)}
            for name, takes in analysis.profile.takes.items()
        },
        "limits": [
            {**msgspec.to_builtins(limit), "verdict": standing[limit.name].standing, "why": standing[limit.name].why}
            for limit in host.limits
        ],
        "first": None if host.first is None else host.first.name,
        "after_fixes": None if host.after_fixes is None else host.after_fixes.name,
        "reach": analysis.reach,
        "waiting": msgspec.to_builtins(analysis.waiting),
        "loads": msgspec.to_builtins(analysis.loads),
        "current": msgspec.to_builtins(analysis.current),
        "tiers": msgspec.to_builtins(analysis.tiers),
        "tiers_after_fixes": msgspec.to_builtins(analysis.tiers_after_fixes),
        "fleet": msgspec.to_builtins(analysis.fleet),
        "notes": list(analysis.notes),
    }
