"""Making a plan: the answer from the evidence of one key, with and its reason."""

from collections.abc import Sequence

import msgspec

from capacity.plan import words
from capacity.plan.allowances import allowances, binding
from capacity.plan.bracket import bracket, chance_to_pass, levels_seen
from capacity.plan.caps import Caps, read_caps
from capacity.plan.evidence import Evidence, Wanted, gather
from capacity.plan.key import differences
from capacity.plan.lag import between, foreseen, latency_resource, merged, polled_lag, tightest_latency
from capacity.plan.resources import FILLS_UP, RULES, Rule, resource
from capacity.plan.steps import step_resource
from capacity.plan.tiers import RECOMMENDED, cut, tiers
from capacity.plan.transfer import transferred
from capacity.plan.waiting import waited_for
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History
from whisper_ops.objective import read_stored
from whisper_ops.plan_document import GPU_MEMORY, LATENCY, Capacity, LevelSeen, Plan, Resource, Tier
from whisper_ops.plan_key import Key
from whisper_ops.plan_words import sure

_NEAR = 0.9
"""Readings from this share of a level's load on are readings at that level."""


def make_plan(history: History, wanted: Wanted, now: float) -> Plan:
    """Plan from the newest key in `history` that matches; for a GPU that was not measured, from what carries over.

    Raises:
        UserError: there is not enough evidence (exit code 4).
    """
    try:
        evidence = gather(history, wanted)
    except UserError:
        if wanted.gpu is None:
            raise
        return _for_another_gpu(history, wanted, wanted.gpu, now)
    return plan_from(evidence, _caps(history, evidence), now)


def _for_another_gpu(history: History, wanted: Wanted, gpu: str, now: float) -> Plan:
    evidence = gather(history, msgspec.structs.replace(wanted, gpu=None))
    caps = _caps(history, evidence)
    return transferred(plan_from(evidence, caps, now), evidence, caps, gpu, wanted.gpu_speed)


def _caps(history: History, evidence: Evidence) -> Caps:
    return read_caps(history, evidence.key, evidence.settings, evidence.newest)


def plan_from(evidence: Evidence, caps: Caps, now: float) -> Plan:
    """Plan from the evidence of one key.

    Raises:
        UserError: nothing says anything, or no level passed and smaller ones were not tried (exit code 4).
    """
    key, levels = evidence.key, levels_seen(evidence)
    capacity, resources = _limits(evidence, caps, levels)
    ranked = _ranked(tightest_latency(binding(resources)))
    safe, why = _safe_limit(capacity, ranked)
    recommended = None if safe is None else cut(safe, RECOMMENDED)
    provisional = words.provisional(levels, capacity, key.gpus)
    waits_for = waited_for(evidence, capacity)
    plan = Plan(
        created_at=now,
        server=key.server,
        key=key,
        objective=key.objective,
        simulated=key.simulated,
        provisional=provisional,
        max_connections_per_gpu=recommended,
        safe_limit=safe,
        cut="" if safe is None else words.cut_in_words(safe, recommended),
        reason=why or words.reason(evidence, capacity, waits_for),
        waits_for=waits_for,
        next_test=words.next_test(evidence, capacity, provisional=provisional),
        binding_kind=ranked[0].kind if ranked else "",
        runner_up_kind=ranked[1].kind if len(ranked) > 1 else "",
        capacity=capacity,
        resources=resources,
        tiers=() if safe is None else _tiers(capacity, safe, resources),
        levels=_with_chances(evidence, capacity, levels),
        newest_evidence_at=evidence.newest,
        other_keys=tuple(f"{other.title} ({differences(key, other)})" for other in evidence.other_keys),
        notes=(*words.notes(evidence, levels), *evidence.polled.notes),
        polled_peak=evidence.polled.peak,
        polled_seconds=evidence.polled.seconds,
    )
    return msgspec.structs.replace(plan, sure=sure(plan, now))


def _with_chances(evidence: Evidence, capacity: Capacity, levels: tuple[LevelSeen, ...]) -> tuple[LevelSeen, ...]:
    chances = chance_to_pass(levels, foreseen(evidence, capacity))
    return tuple(msgspec.structs.replace(seen, chance=chances.get(seen.streams)) for seen in levels)


def _limits(evidence: Evidence, caps: Caps, levels: tuple[LevelSeen, ...]) -> tuple[Capacity, tuple[Resource, ...]]:
    """The capacity and the law of every resource: from levels where any were measured, else from polls."""
    bound = read_stored(evidence.key.objective).limit("stable_p95")
    step = step_resource(evidence, bound)
    others = tuple(resource(evidence, caps, rule) for rule in _rules(evidence.key)) + allowances(evidence.key, caps)
    others = others if step is None else (step, *others)
    if levels:
        capacity = _measured(evidence, levels)
        told = tuple(_not_below(other, capacity.last_pass) for other in others)
        return capacity, (latency_resource(evidence, capacity), *told)
    lag = polled_lag(evidence.polled, bound)
    resources = others if lag is None else (lag, *others)
    capacity = merged(binding(resources), evidence.polled)
    if capacity.status == "not_identifiable":
        raise UserError(words.polls_say_nothing(evidence, capacity), Exit.EVIDENCE)
    return capacity, resources


def _rules(key: Key) -> tuple[Rule, ...]:
    """What can run out; the memory of a processor that stands in for a GPU is the host's, with a row of its own."""
    return RULES if key.gpu_name is None or key.carrier == "GPU" else tuple(r for r in RULES if r.kind != GPU_MEMORY)


def _not_below(resource: Resource, last_pass: int | None) -> Resource:
    """A level that passed is a lower bound of every resource at its load, whatever a law foresees from elsewhere."""
    if resource.limit is None or last_pass is None or _denies(resource, last_pass):
        return resource
    at_least = [None if end is None else max(end, float(last_pass)) for end in (resource.limit, resource.low)]
    high = None if resource.high is None else max(resource.high, float(last_pass))
    return msgspec.structs.replace(resource, limit=at_least[0], low=at_least[1], high=high)


def _denies(resource: Resource, last_pass: int) -> bool:
    """Whether what fills up for good, such as memory, surely was over its cap while a level passed.

    Its whole interval must say so, and a reading at that load: polls near idle only guess at it.
    """
    most = resource.limit if resource.high is None else resource.high
    if resource.kind not in FILLS_UP or most is None or most >= last_pass:
        return False
    cap = resource.cap
    return cap is None or any(load >= _NEAR * last_pass and value > cap for load, value in resource.points)


def _measured(evidence: Evidence, levels: Sequence[LevelSeen]) -> Capacity:
    """The capacity that measured levels bracket."""
    capacity = bracket(tuple(levels), evidence.key.gpus)
    if capacity.status == "not_identifiable":
        raise UserError(words.all_invalid(levels), Exit.EVIDENCE)
    if capacity.status == "upper_bound" and capacity.first_fail != 1:
        raise UserError(words.none_passed(levels), Exit.EVIDENCE)
    crossing = between(evidence, capacity)
    return capacity if crossing is None else msgspec.structs.replace(capacity, estimate=crossing)


def _ranked(resources: Sequence[Resource]) -> list[Resource]:
    known = [resource for resource in resources if resource.limit is not None]
    return sorted(known, key=lambda resource: resource.low if resource.low is not None else resource.limit or 0)


def _safe_limit(capacity: Capacity, ranked: Sequence[Resource]) -> tuple[int | None, str]:
    """The lowest limit, and a reason of its own when it is not the objective that sets it."""
    if capacity.last_pass is None:
        return (None, "") if capacity.low is None else (max(int(capacity.low), 1), "")
    first = ranked[0]
    low = first.low if first.low is not None else first.limit
    assert low is not None
    if first.kind == LATENCY or low >= capacity.last_pass:
        return capacity.last_pass, ""
    return max(int(low), 1), f"{first.name} ({first.law}) reaches {first.cap_text} at {low:.0f} connections"


def _tiers(capacity: Capacity, safe: int, resources: tuple[Resource, ...]) -> tuple[Tier, ...]:
    if capacity.last_pass is not None:
        return tiers(safe, capacity.first_fail, resources)
    upper = None if capacity.high is None else max(int(capacity.high), safe)
    return tiers(safe, upper, resources, "the lower end of the interval", "the upper end of the interval")
