"""How near each resource of a host on paper is to limiting its calls: binding, possible, or not limiting."""

from typing import Literal

import msgspec

from capacity.hosts.amounts import AmountRange
from capacity.hosts.host_limits import CPU, TASKS, HostLimits, Limit
from whisper_ops.formatting import counted

NEAR = 2.0
"""A resource that allows less than so many times what the binding one may allow is a possible limit."""
TASKS_A_CALL = 4
"""Threads a call, where the profile does not say: enough for every server that is known."""

Standing = Literal["binding", "possible", "not limiting"]


class ProcessorShare(msgspec.Struct, frozen=True, kw_only=True):
    """What the processor carries where a call needs it for a share of its time only."""

    duty: AmountRange
    low: int
    high: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How near a resource is to limiting calls, and why that is said."""

    name: str
    standing: Standing
    why: str


def verdict(limit: Limit, host: HostLimits, waiting: ProcessorShare | None, reach: int) -> Verdict:
    """The verdict on one limit, for `reach` calls."""
    standing, why = _standing(limit, host, waiting, reach)
    return Verdict(name=limit.name, standing=standing, why=why)


def _standing(limit: Limit, host: HostLimits, waiting: ProcessorShare | None, reach: int) -> tuple[Standing, str]:
    first, after = host.first, host.after_fixes
    if limit is after:
        when = "" if limit is first else ", once the settings are raised"
        more = (
            f"; {waiting.low:,} to {waiting.high:,} with waiting" if waiting is not None and limit.name == CPU else ""
        )
        return "binding", f"{counted(limit.allows, 'call')}{when}{more}"
    if limit is first:
        return "binding", f"{counted(limit.allows, 'call')} as configured; a setting, raised below"
    if limit.allows is None:
        return _unlimited(limit, reach)
    worst = limit.allows if limit.least is None else limit.least
    if worst < NEAR * reach:
        said = f"{limit.allows:,}" if worst == limit.allows else f"{limit.allows:,}, at worst {worst:,},"
        return "possible", f"{said} is under twice the {reach:,} that may be asked of it"
    return "not limiting", f"{limit.allows / max(reach, 1):.3g} times the {reach:,} that may be asked of it"


def _unlimited(limit: Limit, reach: int) -> tuple[Standing, str]:
    """The verdict on what does not grow with calls that stay, but with calls that come at once, or with threads."""
    there = limit.there_is or 0
    if limit.name == TASKS:
        each = there / max(reach, 1)
        enough = each >= TASKS_A_CALL
        return ("not limiting" if enough else "possible"), f"{each:,.3g} threads a call at {reach:,} calls"
    if there >= reach:
        return "not limiting", f"all {reach:,} calls may come at the same moment"
    return "possible", f"of {reach:,} calls at the same moment {there:,.0f} may wait to be let in"
