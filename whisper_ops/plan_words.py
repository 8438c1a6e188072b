"""The sentences of a plan that change with time, made of its figures where they are shown."""

import math
from collections.abc import Sequence

from whisper_ops.formatting import age, counted, span_of_time
from whisper_ops.plan_document import LevelSeen, Plan, Resource

_STATES = {"identified": "identified", "lower_bound": "a lower bound", "upper_bound": "an upper bound"}


def open_ended(plan: Plan) -> bool:
    """Whether nothing that was measured ends the limit: then it is no more than what was carried so far."""
    if plan.capacity.status != "lower_bound" or plan.transferred_from is not None:
        return False
    return plan.capacity.last_pass is None or plan.safe_limit is None or plan.safe_limit >= plan.capacity.last_pass


def may_bind(plan: Plan) -> Resource | None:
    """What laws say will run out first, where the limit was not reached: no level missed anything yet."""
    first = plan.binds
    return first if first is not None and first.status != "lower_bound" else plan.next_to_bind


def in_line(plan: Plan) -> str:
    """What runs out first and what after that, in a sentence; empty where nothing is known to."""
    first, after = plan.binds, plan.next_to_bind
    if open_ended(plan):
        may = may_bind(plan)
        return "" if may is None else f"May bind first: {may.name}, at {limit_text(may)}."
    if first is None:
        return f"Breaks first: {plan.binding_resource}." if plan.binding_resource else ""
    if after is None or after.limit is None:
        return f"Breaks first: {first.name}."
    return f"Breaks first: {first.name}; after that {after.name}, at {limit_text(after)}."


def connections(value: float) -> str:
    """So many connections; of a law's figure the whole ones."""
    return f"{math.floor(value + 1e-9):,}"


def limit_text(resource: Resource) -> str:
    """The connections a resource allows, as an interval where it is one."""
    if resource.limit is None:
        return "—"
    low = connections(resource.limit if resource.low is None else resource.low)
    if resource.high is None:
        return f"≥ {low}" if resource.status == "lower_bound" else connections(resource.limit)
    high = connections(resource.high)
    return low if low == high else f"{low}–{high}"


def result(seen: LevelSeen) -> str:
    """Whether a level passed, as glyph and word."""
    if not seen.repeats:
        return "? no evidence"
    if seen.passes == seen.repeats:
        return "✓ pass"
    flips = f" {seen.repeats - seen.passes} of {seen.repeats}" if seen.repeats > 1 else ""
    return f"✕ fail{flips}"


def sure(plan: Plan, now: float) -> str:
    """How well the limit is known, and from what, `now`; of a plan that kept only words, those."""
    if plan.transferred_from is not None:
        return f"carried over from {plan.transferred_from}, nothing was measured on {plan.key.device}"
    if plan.newest_evidence_at is None:
        return plan.sure
    state = "provisional" if plan.provisional else _STATES.get(plan.capacity.status, plan.capacity.status)
    newest = f"newest {age(now - plan.newest_evidence_at)} old"
    if plan.levels:
        return f"{state} from {_levels(plan.levels)}, {newest}{_chances(plan)}"
    low, high = plan.capacity.low, plan.capacity.high
    interval = "" if high is None or low is None else f"; 80 % sure of {low:.0f} to {high:.0f}"
    polled = f"{span_of_time(plan.polled_seconds)} of " if plan.polled_seconds else ""
    return f"{state} from {polled}polls of up to {plan.polled_peak:g} connections a GPU, {newest}{interval}"


def _levels(levels: Sequence[LevelSeen]) -> str:
    told = []
    for audit, (noun, words) in _AUDITS.items():
        count = sum(seen.repeats for seen in levels if seen.audit == audit)
        told += [words.format(counted(count, noun))] if count else []
    return " and ".join(told)


_AUDITS = {
    "valid": ("valid level", "{}"),
    "provisional": ("provisional level", "{} (under 60 s or 200 words)"),
    "invalid": ("level", "{} that the server broke"),
}


def _chances(plan: Plan) -> str:
    """The chance to pass of the levels around the limit; nothing where an older version did not say."""
    judged = [seen for seen in plan.levels if seen.repeats and seen.chance is not None]
    failed = next((i for i, seen in enumerate(judged) if seen.passes < seen.repeats), None)
    near = judged[-3:] if failed is None else judged[max(0, failed - 2) : failed + 1]
    told = ", ".join(f"{seen.streams} → {seen.chance:.0%}" for seen in near)
    of = f", of streams on all {plan.key.gpus} GPUs" if plan.key.gpus > 1 else ""
    return f"; chance to pass{of}: {told}" if told else ""
