"""The sentences of a plan: why, how sure, what to test next, and what is missing when there is no answer."""

from collections.abc import Sequence

from capacity.plan.bracket import chance_to_pass
from capacity.plan.evidence import Evidence
from capacity.plan.lag import foreseen
from capacity.plan.shape import Capacity, LevelSeen, carried
from capacity.plan.tiers import RECOMMENDED
from whisper_ops.history import LevelRecord
from whisper_ops.objective import readable
from whisper_ops.objective.findings import AnyFinding, OtherLoad, in_words, speaks_against
from whisper_ops.objective.judgement import findings_of

_BUSY = 0.9
"""From this share on, a processor that does one thing at a time is what the streams wait for."""


def reason(evidence: Evidence, capacity: Capacity) -> str:
    """Why the limit is where it is."""
    objective = readable(evidence.key.objective)
    if not evidence.levels:
        return f"{capacity.reason}; from ordinary polls, with no measured level"
    if capacity.status == "identified":
        failed = [level for level in evidence.counted if not level.passed]
        at = min(failed, key=lambda level: level.streams)
        missed = said_against(findings_of(at), at.reason) or "the objective was missed"
        return f"{missed} at {capacity.first_fail} (first fail), and {capacity.last_pass} passed{_waits_for(at)}"
    if capacity.status == "lower_bound":
        return f"{capacity.reason}; no level missed {objective}"
    return f"{capacity.reason}; the objective is {objective}"


def against(seen: LevelSeen) -> str:
    """What made a level fail, or no evidence; empty when nothing did."""
    return said_against(seen.findings, seen.reason)


def said_against(findings: Sequence[AnyFinding], reason: str) -> str:
    """The same; of a level that an older version measured, the words that it kept."""
    if not findings:
        return reason
    return "; ".join(in_words(finding) for finding in findings if speaks_against(finding))


def cut_in_words(safe: int, recommended: int | None) -> str:
    """How the recommendation was cut from the safe limit."""
    share = f"{RECOMMENDED:.0%} of {safe}"
    return f"{share}, rounded down" if recommended != 1 or safe > 1 else "one connection is the least there is"


def provisional(levels: Sequence[LevelSeen], capacity: Capacity, gpus: int) -> bool:
    """Whether an end of the interval rests on a level too short to be sure of."""
    ends = {capacity.last_pass, capacity.first_fail}
    held = [
        seen
        for seen in levels
        if seen.repeats and (carried(seen.streams, gpus) in ends or -(-seen.streams // gpus) in ends)
    ]
    return any(seen.audit == "provisional" for seen in held)


def sure(evidence: Evidence, capacity: Capacity, levels: Sequence[LevelSeen], now: float, *, provisional: bool) -> str:
    """How well the limit is known, and from what."""
    word = {"identified": "identified", "lower_bound": "a lower bound", "upper_bound": "an upper bound"}
    state = "provisional" if provisional else word.get(capacity.status, capacity.status)
    age = f"newest {_ago(now - evidence.newest)} old"
    if not levels:
        polled = evidence.polled
        interval = "" if capacity.high is None or capacity.low is None else f"; {_ends(capacity.low, capacity.high)}"
        return f"{state} from {polled.span} of polls of up to {polled.peak:g} connections a GPU, {age}{interval}"
    judged = [seen for seen in levels if seen.repeats]
    valid = sum(seen.repeats for seen in judged if seen.audit == "valid")
    short = sum(seen.repeats for seen in judged if seen.audit == "provisional")
    broken = sum(seen.repeats for seen in judged if seen.audit == "invalid")
    parts = [_count(valid, "valid level")] if valid else []
    parts += [f"{_count(short, 'provisional level')} (under 60 s or 200 words)"] if short else []
    parts += [f"{_count(broken, 'level')} that the server broke"] if broken else []
    chances = chance_to_pass(tuple(levels), foreseen(evidence, capacity))
    near = [seen.streams for seen in judged][-3:] if capacity.first_fail is None else _around(judged)
    told = ", ".join(f"{streams} → {chances[streams]:.0%}" for streams in near)
    return f"{state} from {' and '.join(parts)}, {age}; chance to pass: {told}"


def next_test(evidence: Evidence, capacity: Capacity, *, provisional: bool) -> str:
    """The one measurement that would help most."""
    gpus, last, fail = evidence.key.gpus, capacity.last_pass, capacity.first_fail
    if not evidence.levels:
        around = capacity.estimate or 2 * evidence.polled.peak
        levels = ",".join(f"{max(round(around * share) * gpus, gpus)}" for share in (0.8, 0.9, 1.0, 1.1))
        return f"whisper-ops sweep URL --levels {levels}, a minute each"
    if last is None:
        alone = "the same levels again, without the other programs on that machine"
        return alone if disturbed_most(evidence) > 0 else "a smaller model or a faster device; then sweep again"
    if fail is None:
        return f"one level at {2 * last * gpus} streams for a minute, to find one that fails"
    if provisional:
        return f"the levels {last * gpus} and {fail * gpus} for a minute each, since the short ones are provisional"
    if fail - last > max(1, round(0.05 * last)):
        return f"one level at {(last + fail) // 2 * gpus} streams for 5 minutes"
    return f"the levels {last * gpus} and {fail * gpus} again, three times each, for their chance to pass"


def disturbed_most(evidence: Evidence) -> float:
    """The largest share of the machine that other programs took at a level; 0 where none took much."""
    found = (finding for level in evidence.levels for finding in findings_of(level))
    return max((finding.share for finding in found if isinstance(finding, OtherLoad)), default=0.0)


def all_invalid(levels: Sequence[LevelSeen]) -> str:
    """No level says anything."""
    first = next((seen for seen in levels if seen.reason), None)
    why = f" (level {first.streams}: {first.reason})" if first else ""
    return f"none of the {_count(len(levels), 'measured level')} is evidence{why}; sweep again"


def none_passed(levels: Sequence[LevelSeen]) -> str:
    """Every level failed, and smaller ones were not tried."""
    smallest = next(seen for seen in levels if seen.repeats)
    missed = against(smallest)
    why = f": {missed}" if missed else ""
    return (
        f"no level met the objective, not even the smallest, {smallest.streams}{why}; "
        "sweep smaller levels, such as --levels 1,2"
    )


def polls_say_nothing(evidence: Evidence, capacity: Capacity) -> str:
    """Ordinary production was not near any limit."""
    return (
        f"the polls of {evidence.key.server} do not show its limit: {capacity.reason}; "
        f"{next_test(evidence, capacity, provisional=False)}"
    )


def notes(evidence: Evidence, levels: Sequence[LevelSeen]) -> tuple[str, ...]:
    """What was left out, and what may hide demand."""
    told = _spread_in_words(evidence)
    left_out = [seen for seen in levels if not seen.repeats]
    if left_out:
        why = "; ".join(f"{seen.streams}: {seen.reason or 'invalid'}" for seen in left_out)
        told.append(f"left out as no evidence: {why}")
    if (share := disturbed_most(evidence)) > 0:
        told.append(
            f"other programs took up to {share:.0%} of the processors meanwhile: without them there is more room"
        )
    if evidence.other_keys:
        others = _count(len(evidence.other_keys), "other key")
        told.append(f"left out, as keys are never mixed: {others} in this history")
    if evidence.polled.slots_full:
        told.append("slots were full in some polls: demand hides behind the cap, so look at rejections too")
    return tuple(told)


def _spread_in_words(evidence: Evidence) -> list[str]:
    """What a reader must know of evidence that came through a balancer."""
    key = evidence.key
    if key.servers == 1:
        return []
    all_gpus = f"{key.servers} servers with {key.gpus} GPUs together"
    told = [f"measured through {key.server}: {all_gpus} answered, and the limit is a GPU's"]
    uneven = max((level.gpu_spread or 0 for level in evidence.counted), default=0)
    if uneven > 1:
        told.append(
            f"the streams were spread unevenly, {uneven} more on one GPU than on another: the fullest one binds"
        )
    return told


def _waits_for(level: LevelRecord) -> str:
    """Which processor was busy when the objective was missed."""
    shares = {
        "the server's own core binds": level.front_cpu_ratio,
        "GPU step time binds": level.server_busy_ratio,
        "the host's processors bind": level.host_cpu_ratio,
    }
    if any(isinstance(finding, OtherLoad) for finding in findings_of(level)):
        shares.pop("the host's processors bind")  # not the server's doing
    known = {name: share for name, share in shares.items() if share is not None and share >= _BUSY}
    if not known:
        return ""
    name = max(known, key=lambda name: known[name])
    return f"; {name} ({min(known[name], 1.0):.0%} busy)"


def _around(judged: Sequence[LevelSeen]) -> list[int]:
    streams = [seen.streams for seen in judged]
    failed = next(i for i, seen in enumerate(judged) if seen.passes < seen.repeats)
    return streams[max(0, failed - 2) : failed + 1]


def _ends(low: float, high: float) -> str:
    return f"80 % sure of {low:.0f} to {high:.0f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return _count(int(seconds // size), unit)
    return _count(max(int(seconds), 0), "second")
