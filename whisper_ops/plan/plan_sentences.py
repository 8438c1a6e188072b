"""The sentences of a plan that change with time, made of its figures where they are shown."""

import math
from collections.abc import Sequence

from whisper_ops.formatting import ago, counted, percent, span_of_time
from whisper_ops.plan.plan_document import JudgedLevel, Plan, Resource


def open_ended(plan: Plan) -> bool:
    """Whether nothing that was measured ends the limit: then it is no more than what was carried so far."""
    if plan.capacity.status != "lower_bound" or plan.transferred_from is not None:
        return False
    return plan.capacity.last_pass is None or plan.safe_limit is None or plan.safe_limit >= plan.capacity.last_pass


def may_bind(plan: Plan) -> Resource | None:
    """What laws say will run out first, where the limit was not reached: no level missed anything yet."""
    first = plan.binds
    return first if first is not None and first.status != "lower_bound" else plan.next_to_bind


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


def result(level: JudgedLevel) -> str:
    """Whether a level passed, as glyph and word."""
    if not level.repeats:
        return "? no evidence"
    if level.passes == level.repeats:
        return "✓ pass"
    flips = f" {level.repeats - level.passes} of {level.repeats}" if level.repeats > 1 else ""
    return f"✕ fail{flips}"


def confidence(plan: Plan, now: float) -> str:
    """How well the limit is known, and from what, `now`; of a plan that kept only words, those."""
    if plan.transferred_from is not None:
        return f"not measured (carried over from {plan.transferred_from}; nothing was measured on {plan.key.device})"
    if plan.newest_evidence_at is None:
        return plan.sure
    newest = f"newest {ago(now - plan.newest_evidence_at)}"
    state = "provisional" if plan.provisional else _ENDS.get(plan.capacity.status, plan.capacity.status)
    if plan.levels:
        return f"{state} ({_levels(plan.levels)}, {newest}){_probabilities(plan)}"
    low, high = plan.capacity.low, plan.capacity.high
    known = "only a lower bound" if high is None or low is None else f"80 % sure of {low:.0f} to {high:.0f}"
    polled = f"{span_of_time(plan.polled_seconds)} of " if plan.polled_seconds else ""
    return f"{known} ({polled}polls of up to {plan.polled_peak:g} connections a {plan.key.carrier_noun}, {newest})"


def _levels(levels: Sequence[JudgedLevel]) -> str:
    counts = {audit: sum(level.repeats for level in levels if level.audit == audit) for audit in _AUDITS}
    named = [words.format(counted(counts[audit], noun)) for audit, (noun, words) in _AUDITS.items() if counts[audit]]
    return " and ".join(named) or "no level"


_ENDS = {
    "identified": "both ends measured",
    "lower_bound": "only the lower end measured",
    "upper_bound": "only the upper end measured",
}
_AUDITS = {
    "valid": ("valid level", "{}"),
    "provisional": ("short level", "{}"),
    "invalid": ("level", "{} that the server broke"),
}


def _probabilities(plan: Plan) -> str:
    """That of the levels around the limit; nothing where an older version did not say."""
    judged = [level for level in plan.levels if level.repeats and level.chance is not None]
    failed = next((i for i, level in enumerate(judged) if level.passes < level.repeats), None)
    near = judged[-3:] if failed is None else judged[max(0, failed - 2) : failed + 1]
    named = ", ".join(f"{counted(level.streams, 'stream')} {probability(level.chance or 0.0)}" for level in near)
    of = f" (streams on all {counted(plan.key.gpus, plan.key.carrier_noun)})" if plan.key.gpus > 1 else ""
    return f". Probability of passing{of}: {named}" if named else ""


def probability(share: float) -> str:
    """As per cent; what was measured a few times is never quite sure."""
    return "over 99 %" if share >= 0.995 else "under 1 %" if share < 0.005 else percent(share)
