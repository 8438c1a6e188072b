"""The latency objective as a resource: which latency is missed first, its law, and where it meets its bound."""

import math
from collections.abc import Sequence
from statistics import median

import msgspec
import numpy as np

from capacity.models.crossing import crossings
from capacity.models.latency import PACED, LatencyPrior, fit_latency
from capacity.models.law import Law
from capacity.planner.evidence import Evidence
from capacity.planner.gpu_shares import carried
from capacity.planner.polls import PollEvidence
from capacity.planner.queue_causes import first_failed_repeats
from whisper_ops.formatting import counted
from whisper_ops.history import LevelRecord
from whisper_ops.objective import MEASURES, ObjectiveTerm, read_stored
from whisper_ops.objective.findings import AnyFinding, Missed, StoppedEarly, TextMissing, WordErrors, speaks_against
from whisper_ops.objective.judgement import findings_of, is_evidence, measures_of
from whisper_ops.plan.plan_document import Capacity, Resource
from whisper_ops.plan.plan_sentences import connections
from whisper_ops.plan.resource_kinds import LATENCY, POLLED_LAG, STEP_TIME
from whisper_ops.student_t import normal_below

_FROM_POLLS = LatencyPrior(knee=1.1, step=0.0, knee_spread=1.0, closed_loop=0.01)
"""Production runs far below its limit as often as near it, so polls are read without the habits of load tests."""
_GROWN = 1.15
"""Lag that grew by less than this over all loads seen says nothing about where it will explode."""
_STEPS = 40
_FAR = 1.5
"""A law that says so many times what was read, or what is allowed, at a load that passed is none."""
_Z = 1.2816  # half an 80 % interval in standard deviations
_NEAR = 0.4
"""Loads of this share of a limit must have been seen before it is believed."""


def binding_condition(evidence: Evidence, capacity: Capacity) -> ObjectiveTerm | None:
    """The latency that sets the limit: what the first failing level misses most, else what is nearest its bound."""
    levels = [level for repeats in evidence.repeats().values() for level in repeats if is_evidence(level.audit)]
    conditions = [term for term in read_stored(evidence.key.objective).durations if not term.relative]
    gpus = evidence.key.gpus
    if missed_otherwise(evidence, capacity):
        return None
    at = [n for n in levels if capacity.first_fail is not None and -(-n.streams // gpus) == capacity.first_fail]
    near = at or [n for n in levels if carried(n.streams, gpus) == capacity.last_pass]
    used = {c: [v / c.limit for level in near if (v := measures_of(level)[c.name]) is not None] for c in conditions}
    return max((c for c in conditions if used[c]), key=lambda c: max(used[c]), default=None)


def missed_otherwise(evidence: Evidence, capacity: Capacity) -> str:
    """What was missed at the first fail, where that was no latency; empty where it was, or nothing says what it was."""
    if capacity.first_fail is None:
        return ""
    found = [
        finding for level in first_failed_repeats(evidence) for finding in findings_of(level) if speaks_against(finding)
    ]
    if not found or any(_is_latency(finding) for finding in found):
        return ""
    return " and ".join(dict.fromkeys(map(_about, found)))


def _is_latency(finding: AnyFinding) -> bool:
    if isinstance(finding, Missed):
        return MEASURES[finding.measure].unit == "seconds"
    return isinstance(finding, StoppedEarly) and finding.behind_seconds is not None


def _about(finding: AnyFinding) -> str:
    match finding:
        case Missed():
            return MEASURES[finding.measure].title
        case WordErrors():
            return MEASURES["wer"].title
        case TextMissing():
            return MEASURES["missing"].title
    return "streams let in and kept"


def latency_resource(evidence: Evidence, capacity: Capacity) -> Resource:
    """Last pass and first fail, with the law of the binding latency through the valid levels where there are enough."""
    gpus = evidence.key.gpus
    condition = binding_condition(evidence, capacity)
    name = None if condition is None else condition.name
    points = _points(evidence.counted, name, gpus)
    valid = _points(evidence.valid, name, gpus)
    law = fit_latency(*_columns(valid), PACED) if len({n for n, _ in valid}) >= 3 else None
    otherwise = missed_otherwise(evidence, capacity)
    about = otherwise if condition is None else condition.title
    ends = "last pass, first fail" if capacity.first_fail is not None else "last pass; no level failed"
    return Resource(
        kind=LATENCY,
        name="objective" if otherwise else "",
        law=f"{about}: {ends}" if about else ends,
        unit="s",
        cap=None if condition is None else condition.limit,
        cap_text="as the objective says" if condition is None else f"{condition.limit:g} s",
        limit=capacity.estimate if capacity.estimate is not None else capacity.last_pass,
        low=capacity.last_pass,
        high=capacity.first_fail,
        evidence=counted(len(evidence.counted), "level"),
        status=capacity.status,
        points=tuple(points),
        curve=() if law is None or condition is None else _held(law, points, capacity, condition.limit),
    )


def _held(
    law: Law, points: Sequence[tuple[float, float]], capacity: Capacity, bound: float
) -> tuple[tuple[float, float], ...]:
    """The law's curve, as far as levels leave it standing: what passed was in time, and what failed was not.

    Where it is far from what was read at loads that passed there is none.
    """
    last, fail = capacity.last_pass or 0, math.inf if capacity.first_fail is None else capacity.first_fail
    passed = [(n, v) for n, v in points if n <= last]
    middles = law.band([n for n, _ in passed], noise=False)[:, 1].tolist() if passed else []
    if any(middle > _FAR * max(v, bound) for middle, (_, v) in zip(middles, passed, strict=True)):
        return ()
    curve = _curve(law, max(n for n, _ in points) * 1.2, capacity.last_pass, capacity.first_fail)
    return tuple((n, min(v, bound) if n <= last else max(v, bound) if n >= fail else v) for n, v in curve)


def predicted_probabilities(evidence: Evidence, capacity: Capacity) -> dict[int, float]:
    """The chance of each level to meet the binding latency, as the law of valid levels says; empty without one."""
    condition = binding_condition(evidence, capacity)
    if condition is None:
        return {}
    gpus = evidence.key.gpus
    valid = _points(evidence.valid, condition.name, gpus)
    if len({n for n, _ in valid}) < 3:
        return {}
    law = fit_latency(*_columns(valid), PACED)
    streams = sorted({level.streams for level in evidence.counted})
    logs = np.log(law.band([n / gpus for n in streams], noise=True))
    spread = np.maximum((logs[:, 2] - logs[:, 0]) / (2 * _Z), 1e-6)
    chances = map(normal_below, (np.log(condition.limit) - logs[:, 1]) / spread)
    return dict(zip(streams, chances, strict=True))


def interpolated_limit(evidence: Evidence, capacity: Capacity) -> float | None:
    """Where the binding latency crosses its bound between last pass and first fail, on a log scale; None if unknown."""
    condition = binding_condition(evidence, capacity)
    last, fail = capacity.last_pass, capacity.first_fail
    if condition is None or not last or fail is None:
        return None
    gpus = evidence.key.gpus
    counting = [level for repeats in evidence.repeats().values() for level in repeats]
    points = _points(counting, condition.name, gpus)
    low = [v for n, v in points if max(int(n), 1) == last]
    high = [v for n, v in points if -int(-n // 1) == fail]
    if not low or not high or min(high) <= max(low):
        return (last + fail) / 2
    share = np.log(condition.limit / max(low)) / np.log(median(high) / max(low))
    return float(last * (fail / last) ** min(max(float(share), 0.0), 1.0))


def polled_lag(polled: PollEvidence, bound: float | None) -> Resource | None:
    """The law of the lag that the server itself reports, from polls; None where they hold no lag."""
    points = [(n, v) for n, v in polled.points("server_lag_p95_seconds") if n > 0 and v > 0]
    if len(points) < 3:
        return None
    law = fit_latency(*_columns(points), _FROM_POLLS)
    low = high = middle = None
    # The law's own rise: single readings are too noisy to tell growth from luck.
    ends = law.band([points[0][0], points[-1][0]], noise=False)[:, 1]
    if bound is not None and ends[1] >= _GROWN * ends[0]:
        low, middle, high = crossings(law, points[0][0], points[-1][0], _at_most(bound))
    return Resource(
        kind=POLLED_LAG,
        law=law.name if middle is not None else "too flat to see its limit from here",
        unit="s",
        cap=bound,
        cap_text="as the objective says" if bound is None else f"{bound:g} s",
        limit=middle,
        low=low,
        high=high,
        evidence=f"{len(points)} loads in {polled.span} of polls",
        status="identified" if middle is not None else "not_identifiable",
        points=tuple(points),
        curve=_curve(law, points[-1][0] * 2),
    )


def _at_most(seconds: float) -> ObjectiveTerm:
    return ObjectiveTerm("lag", at_most=True, limit=seconds, relative=False, written=f"lag<={seconds:g}")


def _points(levels: Sequence[LevelRecord], name: str | None, gpus: int) -> list[tuple[float, float]]:
    if name is None:
        return []
    found = [(level.streams / gpus, measures_of(level)[name]) for level in levels if is_evidence(level.audit)]
    return sorted((n, v) for n, v in found if v is not None and v > 0)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [n for n, _ in points], [v for _, v in points]


def _curve(law: Law, most: float, *corners: int | None) -> tuple[tuple[float, float], ...]:
    """The law up to a load, with points at the corners that it will get."""
    loads = sorted({most * step / _STEPS for step in range(1, _STEPS + 1)} | {float(n) for n in corners if n})
    return tuple(zip(loads, law.band(loads, noise=False)[:, 1].tolist(), strict=True))


def tightest_latency(known: Sequence[Resource]) -> list[Resource]:
    """The lag law and the batch law foresee the same limit; where they agree, the surer of them speaks for both."""
    pair = [limit for limit in known if limit.kind in (POLLED_LAG, STEP_TIME) and limit.low and limit.high]
    if len(pair) < 2 or max(p.low or 0 for p in pair) > min(p.high or 0 for p in pair):
        return list(known)
    wider = max(pair, key=lambda limit: (limit.high or 0) / (limit.low or 1))
    return [limit for limit in known if limit is not wider]


def capacity_from_polls(limits: Sequence[Resource], polled: PollEvidence, noun: str = "GPU") -> Capacity:
    """The capacity that polls alone allow: the minimum over the laws, and whether it is known well enough to answer.

    A limit is never raised on evidence that was not near it: loads of at least half of it must have been seen.
    """
    known = tightest_latency([limit for limit in limits if limit.limit is not None])
    nothing = Capacity(
        last_pass=None, first_fail=None, estimate=None, low=None, high=None, status="not_identifiable",
        reason=f"at {polled.peak:g} connections a {noun}, the most ever polled, nothing shows the limit",
    )  # fmt: skip
    if not known:
        return nothing
    estimate = min(limit.limit for limit in known if limit.limit is not None)
    low = min(limit.low if limit.low is not None else limit.limit or 0.0 for limit in known)
    high = min(limit.high for limit in known if limit.high is not None) if any(k.high for k in known) else None
    # The surest part of each counts, as where the plan ranks them.
    first = min(known, key=lambda limit: limit.low if limit.low is not None else limit.limit or 0.0)
    made = msgspec.structs.replace(nothing, estimate=estimate, low=min(low, estimate), high=high)
    if polled.peak < _NEAR * estimate:
        return msgspec.structs.replace(
            made, estimate=None, high=None, low=polled.peak, status="lower_bound",
            reason=f"no more than {polled.peak:g} connections a {noun} were ever polled, "
            "under half of what laws predict",
        )  # fmt: skip
    if high is None or high > 1.6 * low:
        return msgspec.structs.replace(
            made, low=max(min(low, estimate), min(polled.peak, estimate)), status="lower_bound",
            reason=f"the laws of {polled.peak:g} connections and fewer do not agree on where the limit lies",
        )  # fmt: skip
    return msgspec.structs.replace(
        made,
        status="identified",
        reason=f"{first.name} meets its cap at {connections(first.limit or 0)} connections a {noun}",
    )
