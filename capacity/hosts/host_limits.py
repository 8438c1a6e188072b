"""What each resource of a host allows, which limits first, and the lines of configuration that lift it."""

import math

import msgspec

from capacity.tiers import tiers
from whisper_ops.formatting import counted
from whisper_ops.plan.plan_document import Tier

MOST_CONNECTIONS = 10**12
"""More than any machine ever held: what allows more is no limit."""
UNLIMITED_DESCRIPTORS = 1_048_576
"""What to ask for where the hard limit itself is unlimited: the kernel's own default ceiling (fs.nr_open)."""


RAM, CPU, PORTS, TASKS = "RAM", "CPU", "ports", "tasks"
SOFT_DESCRIPTORS = "descriptors (soft limit)"
FILE_MAX, CONNECTION_TRACKING, SOMAXCONN, SYN_BACKLOG = "file-max", "connection tracking", "somaxconn", "SYN backlog"
"""Keys of limits, which are what people call them too."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One resource: how much there is, what a connection takes, how many connections that is."""

    name: str
    """Its key, and what people call it."""
    have: str
    """What there is, in words."""
    each: str
    """What one connection takes, in words."""
    each_planned: str = ""
    """The same without the range that it may have; empty where it has none."""
    allows: int | None
    """Connections; None where it is not known or does not limit connections."""
    there_is: float | None = None
    """What there is, in base units."""
    least: int | None = None
    """Connections where each takes the most that was said of it; None: nothing is known but `allows`."""
    most: int | None = None
    """Connections where each takes the least."""
    configured: bool = False
    """Whether it is a setting, which the lines of `fix` raise, and not a quantity of the machine."""
    fix: tuple[str, ...] = ()
    note: str = ""


class HostLimits(msgspec.Struct, frozen=True, kw_only=True):
    """A host's limits and what follows from them."""

    limits: tuple[Limit, ...]
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> list[Limit]:
        """Limits that are known, the first to bind first."""
        return sorted((limit for limit in self.limits if limit.allows is not None), key=lambda limit: limit.allows or 0)

    @property
    def first(self) -> Limit | None:
        """What binds as the host is configured now."""
        return next(iter(self.ranked), None)

    @property
    def after_fixes(self) -> Limit | None:
        """What binds when every setting that can be raised was raised."""
        return next((limit for limit in self.ranked if not (limit.configured and limit.fix)), None)

    def tiers_now(self) -> tuple[Tier, ...]:
        """Tiers of the host as it is configured."""
        return _tiers(self.first)

    def tiers_after(self) -> tuple[Tier, ...]:
        """Tiers of the host after its settings were raised."""
        return _tiers(self.after_fixes)


def _tiers(limit: Limit | None) -> tuple[Tier, ...]:
    return () if limit is None or not limit.allows else tiers(limit.allows, None, (), all_of_it="all of it")


def share_of(have: float, each: float) -> int:
    """How many times `each` fits into `have`; rounding errors do not cost a connection."""
    return math.floor(min(have / each * (1 + 1e-12), MOST_CONNECTIONS))


def descriptor_lines(wanted: int) -> tuple[str, ...]:
    """The lines that raise the soft limit of open files: for a systemd unit, a login session and this shell."""
    # Comments are on lines of their own: systemd takes what follows a value on its line for a part of the value.
    return (
        "# a service: in the [Service] section of its systemd unit, then systemctl daemon-reload and restart",
        f"LimitNOFILE={wanted}",
        "# a server started from a login: in /etc/security/limits.conf",
        f"*  soft  nofile  {wanted}",
        "# only this shell and what it starts",
        f"ulimit -n {wanted}",
    )


def sysctl_line(name: str, value: object) -> tuple[str, ...]:
    """The line for /etc/sysctl.d/90-whisper-ops.conf."""
    return ("# in /etc/sysctl.d/90-whisper-ops.conf, then sysctl --system", f"{name} = {value}")


def summary(host: HostLimits) -> list[str]:
    """The answer in two or three sentences."""
    first, after = host.first, host.after_fixes
    if first is None:
        return ["No limit of this host is known."]
    why = f"{first.have}, {first.each_planned or first.each} a connection"
    lines = [f"First to bind: {first.name}, at {counted(first.allows, 'connection')} ({why})."]
    others = [limit for limit in host.ranked if limit is not first]
    if others:
        lines.append(f"Next limit: {others[0].name}, at {counted(others[0].allows, 'connection')}.")
    if after is not None and after is not first and first.configured:
        lines.append(f"{first.name} is a setting: with it raised, {after.name} binds.")
    return lines


def missed(host: HostLimits, wanted: int) -> list[Limit]:
    """The limits that do not allow `wanted` connections."""
    return [limit for limit in host.limits if limit.allows is not None and limit.allows < wanted]


def document(host: HostLimits) -> dict[str, object]:
    """The body of a host's JSON."""
    return {
        "limits": msgspec.to_builtins(host.limits),
        "first": None if host.first is None else host.first.name,
        "after_fixes": None if host.after_fixes is None else host.after_fixes.name,
        "tiers": msgspec.to_builtins(host.tiers_now()),
        "tiers_after_fixes": msgspec.to_builtins(host.tiers_after()),
        "notes": list(host.notes),
    }
