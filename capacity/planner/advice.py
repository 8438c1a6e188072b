"""The levels that a plan advises to measure next, from its evidence."""

from capacity.next_levels import NextLevels, TriedLevel, next_levels, undisturbed
from capacity.planner.evidence import Evidence
from capacity.planner.queue_causes import disturbed
from whisper_ops.plan.plan_document import Capacity

_AROUND = (0.8, 1.0, 1.2)
"""Shares of what polls let expect."""


def advised(evidence: Evidence, capacity: Capacity) -> NextLevels:
    """The levels to measure next, within the server's slots; of polls alone, levels around the expected limit."""
    gpus, slots = evidence.key.gpus, evidence.slots
    if not evidence.levels:
        around = capacity.estimate or 2 * evidence.polled.peak
        levels = {max(round(around * share) * gpus, gpus) for share in _AROUND}
        return NextLevels(aim="find_failure", levels=tuple(sorted({min(n, slots or n) for n in levels})))
    tried = {
        streams: TriedLevel(
            passed=all(level.passed for level in levels),
            firm=all(level.audit != "provisional" for level in levels),
            repeats=len(levels),
        )
        for streams, levels in evidence.repeats().items()
    }
    none_passed = capacity.last_pass is None
    if none_passed and disturbed(evidence):
        return undisturbed({level.streams for level in evidence.levels}, slots)
    if none_passed:
        # One that passed while other GPUs had nothing to do says nothing of all of them.
        tried = {streams: one for streams, one in tried.items() if not one.passed}
    return next_levels(tried, slots, gpus)
