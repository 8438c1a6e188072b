"""Making a plan: the answer from the evidence of one key, with and its reason."""

import math
from collections.abc import Sequence

import msgspec

from capacity.planner import explanations
from capacity.planner.advice import advised
from capacity.planner.batch_law import step_resource
from capacity.planner.bracket import bracket, judged_levels, passing_probabilities, proven_load
from capacity.planner.caps import Caps, read_caps
from capacity.planner.evidence import Evidence, EvidenceRequest, gather
from capacity.planner.host_allowances import allowances, binding
from capacity.planner.key import differences
from capacity.planner.latency_limit import (
    capacity_from_polls,
    interpolated_limit,
    latency_resource,
    polled_lag,
    predicted_probabilities,
    tightest_latency,
)
from capacity.planner.law_checks import FILLS_UP, bounded_by_pass, bounded_by_polls
from capacity.planner.queue_causes import busy_at_first_failure
from capacity.planner.resources import RULES, ResourceRule, resource
from capacity.planner.transfer import transferred
from capacity.tiers import RECOMMENDED, cut, tiers
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History
from whisper_ops.objective import read_stored
from whisper_ops.plan.plan_document import Capacity, JudgedLevel, Plan, QueueCauses, Resource, Tier, titled
from whisper_ops.plan.plan_sentences import confidence, limit_text
from whisper_ops.plan.resource_kinds import GPU_BUSY, GPU_MEMORY, LATENCY, PORTS, STEP_TIME, TITLES
from whisper_ops.plan_key import PlanKey


def make_plan(history: History, request: EvidenceRequest, now: float) -> Plan:
    """Plan from the newest key in `history` that matches; for a GPU that was not measured, from what carries over.

    Raises:
        UserError: there is not enough evidence (exit code 4).
    """
    try:
        evidence = gather(history, request)
    except UserError:
        if request.gpu is None:
            raise
        return _for_another_gpu(history, request, request.gpu, now)
    return plan_from(evidence, _caps(history, evidence), now)


def _for_another_gpu(history: History, request: EvidenceRequest, gpu: str, now: float) -> Plan:
    evidence = gather(history, msgspec.structs.replace(request, gpu=None))
    caps = _caps(history, evidence)
    return transferred(plan_from(evidence, caps, now), evidence, caps, gpu, request.gpu_speed)


def _caps(history: History, evidence: Evidence) -> Caps:
    return read_caps(history, evidence.key, evidence.settings, evidence.newest)


def plan_from(evidence: Evidence, caps: Caps, now: float) -> Plan:
    """Plan from the evidence of one key.

    Raises:
        UserError: nothing says anything, or no level passed and smaller ones were not tried (exit code 4).
    """
    key, levels = evidence.key, judged_levels(evidence)
    capacity, resources = _limits(evidence, caps, levels)
    ranked = _ranked(tightest_latency(binding(resources)))
    safe, why = _safe_limit(capacity, ranked, key)
    waits_for = busy_at_first_failure(evidence, capacity)
    binds, after = _binding_kinds(capacity, ranked, waits_for)
    names = {resource.kind: resource.name for resource in resources}
    recommended = None if safe is None else cut(safe, RECOMMENDED)
    provisional = explanations.provisional(levels, capacity)
    advice = advised(evidence, capacity)
    following = explanations.next_step(evidence, advice)
    plan = Plan(
        created_at=now,
        server=key.server,
        key=key,
        objective=key.objective,
        simulated=key.simulated,
        provisional=provisional,
        max_connections_per_gpu=recommended,
        safe_limit=safe,
        cut="" if safe is None else explanations.cut_text(safe, recommended),
        reason=why or explanations.reason(evidence, capacity, waits_for),
        waits_for=waits_for,
        next_test=str(following),
        next_step=following.step,
        next_command=following.command,
        next_levels=advice.levels,
        next_seconds=advice.seconds if advice.levels else None,
        binding_kind=binds,
        binding_resource=names.get(binds),
        runner_up_kind=after,
        runner_up=names.get(after),
        capacity=capacity,
        resources=resources,
        tiers=()
        if safe is None
        else _tiers(capacity, safe, resources, None if provisional else proven_load(levels, key.gpus)),
        levels=_with_chances(evidence, capacity, levels),
        newest_evidence_at=evidence.newest,
        other_keys=tuple(f"{other.title} ({differences(key, other)})" for other in evidence.other_keys),
        notes=(*explanations.notes(evidence, levels), *evidence.polled.notes),
        polled_peak=evidence.polled.peak,
        polled_seconds=evidence.polled.seconds,
    )
    return msgspec.structs.replace(plan, sure=confidence(plan, now))


def _with_chances(evidence: Evidence, capacity: Capacity, levels: tuple[JudgedLevel, ...]) -> tuple[JudgedLevel, ...]:
    chances = passing_probabilities(levels, predicted_probabilities(evidence, capacity))
    return tuple(msgspec.structs.replace(level, chance=chances.get(level.streams)) for level in levels)


def _limits(evidence: Evidence, caps: Caps, levels: tuple[JudgedLevel, ...]) -> tuple[Capacity, tuple[Resource, ...]]:
    """The capacity and the law of every resource: from levels where any were measured, else from polls."""
    bound = read_stored(evidence.key.objective).limit("stable_p95")
    step = step_resource(evidence, bound)
    others = tuple(resource(evidence, caps, rule) for rule in _rules(evidence.key)) + allowances(evidence.key, caps)
    others = tuple(titled(other, evidence.key) for other in (others if step is None else (step, *others)))
    if levels:
        capacity = _measured(evidence, levels)
        bounded = tuple(bounded_by_pass(other, capacity.last_pass) for other in others)
        return capacity, (latency_resource(evidence, capacity), *bounded)
    lag = polled_lag(evidence.polled, bound)
    others = tuple(bounded_by_polls(other, evidence.polled.peak) for other in others)
    resources = others if lag is None else (lag, *others)
    capacity = capacity_from_polls(binding(resources), evidence.polled, evidence.key.carrier_noun)
    if capacity.status == "not_identifiable":
        raise UserError(explanations.polls_say_nothing(evidence, capacity, advised(evidence, capacity)), Exit.EVIDENCE)
    return capacity, resources


def _rules(key: PlanKey) -> tuple[ResourceRule, ...]:
    """What can run out; the memory of a processor that stands in for a GPU is the host's, with a row of its own."""
    return RULES if key.gpu_name is None or key.carrier == "GPU" else tuple(r for r in RULES if r.kind != GPU_MEMORY)


def _measured(evidence: Evidence, levels: Sequence[JudgedLevel]) -> Capacity:
    """The capacity that measured levels bracket."""
    capacity = bracket(tuple(levels), evidence.key)
    if capacity.status == "not_identifiable":
        raise UserError(explanations.all_invalid(evidence, levels), Exit.EVIDENCE)
    if capacity.status == "upper_bound" and capacity.first_fail != 1:
        raise UserError(explanations.none_passed(evidence, levels, advised(evidence, capacity)), Exit.EVIDENCE)
    crossing = interpolated_limit(evidence, capacity)
    if crossing is None:
        return capacity
    low, high = capacity.low or 0.0, math.inf if capacity.high is None else capacity.high
    return msgspec.structs.replace(capacity, estimate=min(max(crossing, low), high))


def _ranked(resources: Sequence[Resource]) -> list[Resource]:
    """What is known to end, the first to end first; of the others only the objective, which is what was looked for."""
    known = [r for r in resources if r.limit is not None and (r.status != "lower_bound" or r.kind == LATENCY)]
    return sorted(known, key=lambda resource: resource.low if resource.low is not None else resource.limit or 0)


def _binding_kinds(capacity: Capacity, ranked: Sequence[Resource], waits_for: QueueCauses | None) -> tuple[str, str]:
    """The kinds of what binds and of what binds after that; empty where there is none.

    What the streams waited for at the first level that failed is no second thing: it is why the objective was missed.
    """
    if capacity.last_pass is None and capacity.low is None:
        return LATENCY, ""  # not one connection passes, whatever else there is room for
    kinds = [resource.kind for resource in ranked]
    same = () if waits_for is None else (waits_for.kind, *((GPU_BUSY,) if waits_for.kind == STEP_TIME else ()))
    after = [kind for kind in kinds[1:] if kind not in same]
    return next(iter(kinds), ""), next(iter(after), "")


def _safe_limit(capacity: Capacity, ranked: Sequence[Resource], key: PlanKey) -> tuple[int | None, str]:
    """The lowest limit, and a reason of its own when it is not the objective that sets it."""
    if capacity.last_pass is None:
        return (None, "") if capacity.low is None else (max(int(capacity.low), 1), "")
    first = ranked[0]
    low = first.low if first.low is not None else first.limit
    assert low is not None
    if first.kind == LATENCY or low >= capacity.last_pass:
        return capacity.last_pass, ""
    where = f"{limit_text(first)} connections{key.each}"
    return max(int(low), 1), f"{first.name} ({first.law}) reaches {first.cap_text} at {where}"


def _tiers(capacity: Capacity, safe: int, resources: tuple[Resource, ...], proven: int | None) -> tuple[Tier, ...]:
    full = {r.name: int(r.high) for r in resources if r.kind in FILLS_UP and r.status == "identified" and r.high}
    full = {name: most for name, most in full.items() if name != TITLES[PORTS]}
    first = min(full, key=lambda name: full[name], default="")
    if capacity.last_pass is None:
        upper = None if capacity.high is None else max(int(capacity.high), safe)
        return tiers(safe, upper, resources, "the most that was ever polled", "the upper end of the interval")
    fail = capacity.first_fail
    if first and full[first] < (capacity.last_pass if fail is None else fail):
        return tiers(safe, max(full[first], safe), resources, above=f"where {first} is full", proven=proven)
    return tiers(safe, fail, resources, proven=proven)
