"""Making a plan: the answer from the levels of one key, its reason, and what would make it surer."""

from collections.abc import Sequence

import msgspec

from capacity.plan.bracket import bracket, chance_to_pass, levels_seen
from capacity.plan.caps import Caps, read_caps
from capacity.plan.evidence import Evidence, Wanted, gather
from capacity.plan.key import differences
from capacity.plan.objective import bound_of, in_words
from capacity.plan.resources import RULES, resource
from capacity.plan.shape import Capacity, LevelSeen, Plan, Resource
from capacity.plan.tiers import RECOMMENDED, cut, tiers
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History, LevelRecord, PlanRecord

_BUSY = 0.9
"""From this share on, a processor that does one thing at a time is what the streams wait for."""


def make_plan(history: History, wanted: Wanted, now: float) -> Plan:
    """Plan from the newest key in `history` that matches.

    Raises:
        UserError: there is not enough evidence (exit code 4).
    """
    evidence = gather(history, wanted)
    newest = max(level.started_at + level.duration_seconds for level in evidence.levels)
    return plan_from(evidence, read_caps(history, evidence.key, evidence.settings, newest), now)


def plan_from(evidence: Evidence, caps: Caps, now: float) -> Plan:
    """Plan from the evidence of one key.

    Raises:
        UserError: no level says anything, or none passed and smaller ones were not tried (exit code 4).
    """
    key = evidence.key
    levels = levels_seen(evidence)
    capacity = bracket(levels, key.gpus)
    if capacity.status == "not_identifiable":
        raise UserError(_all_invalid(levels), Exit.EVIDENCE)
    if capacity.last_pass == 0 or (capacity.status == "upper_bound" and capacity.first_fail != 1):
        raise UserError(_none_passed(levels), Exit.EVIDENCE)
    others = tuple(resource(evidence.counted, evidence.valid, caps, key.gpus, rule) for rule in RULES)
    lag = _lag(evidence, capacity, levels)
    ranked = _ranked((lag, *others))
    safe, why = _safe_limit(capacity, ranked)
    recommended = None if safe is None else cut(safe, RECOMMENDED)
    provisional = _provisional(levels, capacity, key.gpus)
    newest = max(level.started_at + level.duration_seconds for level in evidence.levels)
    return Plan(
        created_at=now,
        server=key.server,
        key=key,
        objective=key.objective,
        simulated=key.simulated,
        provisional=provisional,
        max_connections_per_gpu=recommended,
        cut="" if safe is None else _cut_in_words(safe, recommended),
        reason=why or _reason(evidence, capacity),
        sure=_sure(capacity, levels, provisional, newest, now),
        next_test=_next_test(capacity, provisional, key.gpus),
        binding_resource=ranked[0].name if ranked else None,
        runner_up=ranked[1].name if len(ranked) > 1 else None,
        capacity=capacity,
        resources=(lag, *others),
        tiers=() if safe is None else tiers(safe, capacity.first_fail, (lag, *others)),
        levels=levels,
        newest_evidence_at=newest,
        other_keys=tuple(f"{other.title} ({differences(key, other)})" for other in evidence.other_keys),
        notes=_notes(evidence, levels),
    )


def record_of(plan: Plan) -> PlanRecord:
    """The plan as a row of the history."""
    key = plan.key
    return PlanRecord(
        created_at=plan.created_at,
        server=plan.server,
        software=key.software,
        version=key.version,
        engine=key.engine,
        model=key.model,
        compute_type=key.compute_type,
        max_batch=key.max_batch,
        gpu_name=key.gpu_name,
        simulated=plan.simulated,
        objective=plan.objective,
        provisional=plan.provisional,
        max_connections_per_gpu=plan.max_connections_per_gpu,
        last_pass=plan.capacity.last_pass,
        first_fail=plan.capacity.first_fail,
        binding_resource=plan.binding_resource,
        reason=plan.reason,
        body=msgspec.json.encode({"schema": "whisper-ops/plan/1", **msgspec.to_builtins(plan)}).decode(),
    )


def _lag(evidence: Evidence, capacity: Capacity, levels: Sequence[LevelSeen]) -> Resource:
    cap = bound_of(evidence.key.objective, "stable_p95_seconds")
    points = tuple(
        (seen.streams_per_gpu, seen.stable_p95_seconds) for seen in levels if seen.stable_p95_seconds is not None
    )
    return Resource(
        name="latency objective",
        law="last pass and first fail",
        unit="s",
        cap=cap,
        cap_text="as the objective says" if cap is None else f"{cap:g} s",
        limit=capacity.last_pass,
        low=capacity.last_pass,
        high=capacity.first_fail,
        evidence=_count(sum(seen.repeats for seen in levels), "level"),
        status=capacity.status,
        points=points,
    )


def _ranked(resources: Sequence[Resource]) -> list[Resource]:
    known = [resource for resource in resources if resource.limit is not None]
    return sorted(known, key=lambda resource: resource.low if resource.low is not None else resource.limit or 0)


def _safe_limit(capacity: Capacity, ranked: Sequence[Resource]) -> tuple[int | None, str]:
    """The lowest limit, and a reason of its own when it is not the objective that sets it."""
    if capacity.last_pass is None:
        return None, ""
    first = ranked[0]
    low = first.low if first.low is not None else first.limit
    assert low is not None
    if first.name == "latency objective" or low >= capacity.last_pass:
        return capacity.last_pass, ""
    return max(int(low), 1), f"{first.name} ({first.law}) reaches {first.cap_text} at {low:.0f} connections"


def _reason(evidence: Evidence, capacity: Capacity) -> str:
    objective = in_words(evidence.key.objective)
    if capacity.status == "identified":
        failed = [level for level in evidence.counted if not level.passed]
        at = min(failed, key=lambda level: level.streams)
        missed = at.reason or "the objective was missed"
        return f"{missed} at {capacity.first_fail} (first fail) after {capacity.last_pass} (last pass){_waits_for(at)}"
    if capacity.status == "lower_bound":
        return f"{capacity.reason}; no level missed {objective}"
    return f"{capacity.reason}; the objective is {objective}"


def _waits_for(level: LevelRecord) -> str:
    """Which processor was busy when the objective was missed."""
    shares = {
        "the server's own core": level.front_cpu_ratio,
        "GPU step time": level.server_busy_ratio,
        "the host's processors": level.host_cpu_ratio,
    }
    known = {name: share for name, share in shares.items() if share is not None and share >= _BUSY}
    if not known:
        return ""
    name = max(known, key=lambda name: known[name])
    return f"; {name} binds ({known[name]:.0%} busy)"


def _cut_in_words(safe: int, recommended: int | None) -> str:
    share = f"{RECOMMENDED:.0%} of {safe}"
    return f"{share}, rounded down" if recommended != 1 or safe > 1 else "one connection is the least there is"


def _provisional(levels: Sequence[LevelSeen], capacity: Capacity, gpus: int) -> bool:
    """Whether an end of the interval rests on a level too short to be sure of."""
    ends = {capacity.last_pass, capacity.first_fail}
    held = [
        seen for seen in levels if seen.repeats and (seen.streams // gpus in ends or -(-seen.streams // gpus) in ends)
    ]
    return any(seen.audit != "valid" for seen in held)


def _sure(capacity: Capacity, levels: Sequence[LevelSeen], provisional: bool, newest: float, now: float) -> str:
    judged = [seen for seen in levels if seen.repeats]
    valid = sum(seen.repeats for seen in judged if seen.audit == "valid")
    short = sum(seen.repeats for seen in judged if seen.audit != "valid")
    parts = [_count(valid, "valid level")] if valid else []
    parts += [f"{_count(short, 'provisional level')} (under 60 s or 200 words)"] if short else []
    chances = chance_to_pass(tuple(levels))
    near = [seen.streams for seen in judged][-3:] if capacity.first_fail is None else _around(judged)
    told = ", ".join(f"{streams} → {chances[streams]:.0%}" for streams in near)
    word = {"identified": "identified", "lower_bound": "a lower bound", "upper_bound": "an upper bound"}
    state = "provisional" if provisional else word.get(capacity.status, capacity.status)
    return f"{state} from {' and '.join(parts)}, newest {_ago(now - newest)} old; chance to pass: {told}"


def _around(judged: Sequence[LevelSeen]) -> list[int]:
    streams = [seen.streams for seen in judged]
    failed = next(i for i, seen in enumerate(judged) if seen.passes < seen.repeats)
    return streams[max(0, failed - 2) : failed + 1]


def _next_test(capacity: Capacity, provisional: bool, gpus: int) -> str:
    last, fail = capacity.last_pass, capacity.first_fail
    if last is None:
        return "a smaller model or a faster device; then sweep again"
    if fail is None:
        return f"one level at {2 * last * gpus} streams for a minute, to find one that fails"
    if provisional:
        return f"the levels {last * gpus} and {fail * gpus} for a minute each, since the short ones are provisional"
    if fail - last > max(1, round(0.05 * last)):
        return f"one level at {(last + fail) // 2 * gpus} streams for 5 minutes"
    return f"the levels {last * gpus} and {fail * gpus} again, three times each, for their chance to pass"


def _all_invalid(levels: Sequence[LevelSeen]) -> str:
    first = next((seen for seen in levels if seen.reason), None)
    why = f" (level {first.streams}: {first.reason})" if first else ""
    return f"none of the {_count(len(levels), 'measured level')} is evidence{why}; sweep again"


def _none_passed(levels: Sequence[LevelSeen]) -> str:
    smallest = next(seen for seen in levels if seen.repeats)
    why = f": {smallest.reason}" if smallest.reason else ""
    return (
        f"no level met the objective, not even the smallest, {smallest.streams}{why}; "
        "sweep smaller levels, such as --levels 1,2"
    )


def _notes(evidence: Evidence, levels: Sequence[LevelSeen]) -> tuple[str, ...]:
    notes = []
    left_out = [seen for seen in levels if not seen.repeats]
    if left_out:
        told = "; ".join(f"{seen.streams}: {seen.reason or 'invalid'}" for seen in left_out)
        notes.append(f"left out as no evidence: {told}")
    if evidence.other_keys:
        notes.append(
            f"left out, as keys are never mixed: {_count(len(evidence.other_keys), 'other key')} in this history"
        )
    return tuple(notes)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return _count(int(seconds // size), unit)
    return _count(max(int(seconds), 0), "second")
