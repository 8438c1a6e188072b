"""The sentences of a plan that change with time, made of its figures where they are shown."""

from collections.abc import Sequence

from whisper_ops.formatting import age, counted, span_of_time
from whisper_ops.plan_document import LevelSeen, Plan

_STATES = {"identified": "identified", "lower_bound": "a lower bound", "upper_bound": "an upper bound"}


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
    return f"; chance to pass: {told}" if told else ""
