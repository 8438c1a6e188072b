"""Last pass and first fail: the limit as an interval, from levels that were repeated and may disagree."""

import math
from collections.abc import Mapping

import msgspec

from capacity.planner.evidence import Evidence
from capacity.planner.gpu_shares import carried
from whisper_ops.formatting import counted
from whisper_ops.history import LevelRecord
from whisper_ops.objective.judgement import findings_of
from whisper_ops.plan.plan_document import Capacity, JudgedLevel, Status
from whisper_ops.plan_key import PlanKey


def judged_levels(evidence: Evidence) -> tuple[JudgedLevel, ...]:
    """Every level that was tried, lowest first, also those that say nothing and why."""
    counting = evidence.repeats()
    every: dict[int, list[LevelRecord]] = {}
    for level in sorted(evidence.levels, key=lambda level: level.streams):
        every.setdefault(level.streams, []).append(level)
    found = (_judged(counting.get(streams, []), levels, evidence.key.gpus) for streams, levels in every.items())
    return tuple(_refused(judged, evidence) if not judged.repeats else judged for judged in found)


def _refused(judged: JudgedLevel, evidence: Evidence) -> JudgedLevel:
    """A level that says nothing, with the slots for its reason where they are it."""
    if not any(level.streams == judged.streams and evidence.beyond_slots(level) for level in evidence.levels):
        return judged
    return msgspec.structs.replace(
        judged, reason=f"more than the {counted(evidence.slots, 'slot')} of the server", findings=()
    )


def bracket(levels: tuple[JudgedLevel, ...], key: PlanKey) -> Capacity:
    """The interval `[last pass, first fail)` in connections a GPU.

    A level whose repeats disagree counts as failed, and nothing above a failed level counts as passed: a pass there
    is luck, as a person who is told that number would find out.
    """
    gpus = key.gpus
    judged = [level for level in levels if level.repeats]
    failed = [level.streams for level in judged if level.passes < level.repeats]
    first_fail = min(failed, default=None)
    passed = [
        level.streams
        for level in judged
        if level.passes == level.repeats and (first_fail is None or level.streams < first_fail)
    ]
    last_pass = max(passed, default=None)
    low = None if last_pass is None else carried(last_pass, gpus)
    high = None if first_fail is None else -(-first_fail // gpus)
    if low is not None and high is not None and low >= high:  # one GPU alone carried what all together did not
        return _together(last_pass, first_fail, high, key)
    status, reason = _status(low, high, key.each)
    middle = (low + high) / 2 if low is not None and high is not None else None
    return Capacity(last_pass=low, first_fail=high, estimate=middle, low=low, high=high, status=status, reason=reason)


def proven_load(levels: tuple[JudgedLevel, ...], gpus: int) -> int | None:
    """The most connections on a GPU that long levels showed to be carried, each time they were tried; None: none."""
    failed = min((level.streams for level in levels if level.passes < level.repeats), default=math.inf)
    held = [level for level in levels if level.repeats and level.audit == "valid" and level.streams < failed]
    return max((level.streams // gpus for level in held), default=None)


def passing_probabilities(levels: tuple[JudgedLevel, ...], predicted: Mapping[int, float]) -> dict[int, float]:
    """The chance of each level to pass when it is run again, falling with load.

    What the law predicts counts like two repeats; without a law both answers are held as likely (rule of succession).
    """
    chances: dict[int, float] = {}
    lowest = 1.0
    for level in levels:
        if not level.repeats:
            continue
        prior = predicted.get(level.streams, 0.5)
        lowest = min(lowest, (level.passes + 2 * prior) / (level.repeats + 2))
        chances[level.streams] = lowest
    return chances


def _together(last_pass: int | None, first_fail: int | None, high: int, key: PlanKey) -> Capacity:
    others = f"other {key.carrier_noun}s"
    return Capacity(
        last_pass=None, first_fail=high, estimate=None, low=None, high=high, status="upper_bound",
        reason=f"{last_pass} passed while {others} had nothing to do, but {first_fail} over all of them failed",
    )  # fmt: skip


def _judged(counted: list[LevelRecord], every: list[LevelRecord], gpus: int) -> JudgedLevel:
    shown = counted or every
    lags = [level.stable_p95_seconds for level in shown if level.stable_p95_seconds is not None]
    told = next((level for level in shown if level.reason), None)
    return JudgedLevel(
        streams=shown[0].streams,
        streams_per_gpu=shown[0].streams / gpus,
        repeats=len(counted),
        passes=sum(level.passed is True for level in counted),
        audit=counted[0].audit if counted else "disturbed" if shown[0].audit == "disturbed" else "invalid",
        left_out=len(every) - len(counted),
        stable_p95_seconds=sorted(lags)[len(lags) // 2] if lags else None,
        reason="" if told is None else told.reason,
        findings=() if told is None else findings_of(told),
        achieved_concurrency=min(level.achieved_concurrency for level in shown),
        duration_seconds=sum(level.duration_seconds for level in shown),
    )


def _status(low: int | None, high: int | None, each: str) -> tuple[Status, str]:
    if low is None and high is None:
        return "not_identifiable", "no level could be judged"
    if high is None:
        return "lower_bound", f"every level up to {low}{each} passed, so the limit is somewhere above"
    if low is None:
        return "upper_bound", f"even the smallest level, {high}{each}, failed, so the limit is somewhere below"
    return "identified", f"{low}{each} passed and {high}{each} failed"
