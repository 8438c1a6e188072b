"""The sentences of a plan: why, how sure, what to test next, and what is missing when there is no answer."""

from collections.abc import Sequence
from typing import NamedTuple

from capacity.next_levels import NextLevels, undisturbed
from capacity.planner.evidence import Evidence
from capacity.planner.queue_causes import first_failed
from capacity.planner.sweep_command import sweep_command, sweep_seconds
from capacity.tiers import RECOMMENDED
from whisper_ops.formatting import counted, planned_time, times
from whisper_ops.objective import readable
from whisper_ops.objective.findings import AnyFinding, OtherLoad, in_words, speaks_against
from whisper_ops.objective.judgement import findings_of
from whisper_ops.plan.plan_document import Capacity, JudgedLevel, QueueCauses
from whisper_ops.plan.resource_kinds import HOST_CPU, SERVER_CORE, STEP_TIME
from whisper_ops.plan_key import PlanKey


def reason(evidence: Evidence, capacity: Capacity, waits_for: QueueCauses | None) -> str:
    """Why the limit is where it is."""
    objective = readable(evidence.key.objective)
    if not evidence.levels:
        return f"{capacity.reason}; from ordinary polls, with no measured level"
    if capacity.status == "identified":
        at = first_failed(evidence)
        missed = findings_text(findings_of(at), at.reason) or "the objective was missed"
        each = evidence.key.each
        missed = f"{missed} at {capacity.first_fail}{each} (first fail)"
        return f"{missed}, and {capacity.last_pass}{each} passed{waits_for_text(waits_for, evidence.key)}"
    if capacity.status == "lower_bound":
        return f"{capacity.reason}; no level missed the objective"
    return f"{capacity.reason}; the objective is {objective}"


def missed_text(level: JudgedLevel) -> str:
    """What made a level fail, or no evidence; empty when nothing did."""
    return findings_text(level.findings, level.reason)


def findings_text(findings: Sequence[AnyFinding], reason: str) -> str:
    """The same; of a level that an older version measured, the words that it kept."""
    if not findings:
        return reason
    return "; ".join(in_words(finding) for finding in findings if speaks_against(finding))


def cut_text(safe: int, recommended: int | None) -> str:
    """How the recommendation was cut from the safe limit."""
    share = f"{RECOMMENDED:.0%} of {safe:,}"
    return f"{share}, rounded down" if recommended != 1 or safe > 1 else "one connection is the least there is"


def provisional(levels: Sequence[JudgedLevel], capacity: Capacity) -> bool:
    """Whether an end of the interval rests on a level too short to be sure of."""
    judged = [level for level in levels if level.repeats]
    fail = next((at for at, level in enumerate(judged) if level.passes < level.repeats), len(judged))
    passed = [] if capacity.last_pass is None else judged[:fail][-1:]
    return any(level.audit == "provisional" for level in (*passed, *judged[fail : fail + 1]))


class NextStep(NamedTuple):
    """What to do next and what for."""

    step: str
    command: str = ""
    """To paste; empty: there is none."""

    def __str__(self) -> str:
        return f"{self.step}: `{self.command}`" if self.command else self.step


def next_step(evidence: Evidence, advice: NextLevels) -> NextStep:
    """What to measure next and what for, with the time it takes."""
    if not advice.levels:
        return NextStep("serve a smaller model or use a faster device, then sweep again")
    command = sweep_command(evidence.key, advice, evidence.address)
    measure, time = measured(advice), f"(about {planned_time(round(sweep_seconds(evidence.key, advice), -1))})"
    slots = f"give the server more slots than its {evidence.slots} (serve --max-connections-per-gpu)"
    told = {
        "close_in": f"{measure}, to close in on the limit",
        "firm": f"{measure}, as the levels so far were short",
        "repeat": f"{measure}, for their probability of passing",
        "hold": f"{measure}, to see whether it holds for longer",
        "find_failure": f"{measure}, to find a level that fails",
        "find_pass": f"{measure}, to find a level that passes",
        "more_slots": f"{measure}, then {slots}, which all passed",
        "smaller_model": f"{measure}, and if that fails too, serve a smaller model or use a faster device",
        "undisturbed": f"{measure} again, without the other programs on that machine",
    }[advice.aim]
    return NextStep(f"{told} {time}", command)


def measured(advice: NextLevels) -> str:
    """`measure 4, 6 and 8 streams for 60 s each`."""
    *most, last = map(str, advice.levels)
    streams = f"{', '.join(most)} and {last} streams" if most else counted(advice.levels[-1], "stream")
    each = f" each, {times(advice.times)}" if advice.times > 1 else " each" if most else ""
    return f"{'hold' if advice.soak else 'measure'} {streams} for {planned_time(advice.seconds)}{each}"


def disturbed_most(evidence: Evidence) -> OtherLoad | None:
    """The most that other programs took at a level; None where none took much."""
    found = (finding for level in evidence.levels for finding in findings_of(level))
    return max((one for one in found if isinstance(one, OtherLoad)), key=lambda one: one.share, default=None)


def all_invalid(evidence: Evidence, levels: Sequence[JudgedLevel]) -> str:
    """The error where no level is evidence: why, and the command that measures them again."""
    again = undisturbed({level.streams for level in levels}, evidence.slots)
    command = sweep_command(evidence.key, again, evidence.address)
    mended = (
        "without the other programs on that machine" if disturbed_most(evidence) is not None else "once that is mended"
    )
    return (
        f"none of the {counted(len(levels), 'measured level')} is evidence ({_why_left_out(levels)}); "
        f"sweep again {mended}: `{command}`"
    )


def none_passed(evidence: Evidence, levels: Sequence[JudgedLevel], advice: NextLevels) -> str:
    """Every level failed, and smaller ones were not tried."""
    smallest = next(level for level in levels if level.repeats)
    missed = missed_text(smallest)
    why = f": {missed}" if missed else ""
    return (
        f"no level met the objective, not even the smallest, {smallest.streams}{why}; "
        f"sweep smaller levels: {next_step(evidence, advice)}"
    )


def polls_say_nothing(evidence: Evidence, capacity: Capacity, advice: NextLevels) -> str:
    """Ordinary production was not near any limit."""
    return f"the polls of {evidence.key.server} do not show its limit: {capacity.reason}; {next_step(evidence, advice)}"


def notes(evidence: Evidence, levels: Sequence[JudgedLevel]) -> tuple[str, ...]:
    """What was left out, and what may hide demand."""
    told = [*_unlike_gpus(evidence.key), *_balancer_notes(evidence)]
    left_out = [level for level in levels if not level.repeats]
    if left_out:
        told.append(f"left out as no evidence: {_why_left_out(left_out)}")
    if (most := disturbed_most(evidence)) is not None:
        named = f" ({', '.join(most.programs)})" if most.programs else ""
        told.append(
            f"other programs took up to {most.share:.0%} of {most.place}{named} meanwhile: "
            "without them there is more room"
        )
    if evidence.other_keys:
        others = counted(len(evidence.other_keys), "other key")
        told.append(f"left out, as keys are never mixed: {others} in this history")
    if evidence.polled.slots_full:
        told.append("slots were full in some polls: demand hides behind the cap, so look at rejections too")
    return tuple(told)


def _why_left_out(levels: Sequence[JudgedLevel]) -> str:
    """Each reason once, with its levels."""
    by_reason: dict[str, list[str]] = {}
    for level in levels:
        by_reason.setdefault(missed_text(level) or level.reason or "invalid", []).append(str(level.streams))
    return "; ".join(f"{', '.join(streams)}: {reason}" for reason, streams in by_reason.items())


def _unlike_gpus(key: PlanKey) -> list[str]:
    """What a limit of a GPU is the limit of, where they are not all alike."""
    if " + " not in key.device:
        return []
    return [f"the GPUs are not alike ({key.device}): the limit is that of each with as many connections as the others"]


def _balancer_notes(evidence: Evidence) -> list[str]:
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


def waits_for_text(busy: QueueCauses | None, key: PlanKey) -> str:
    """Which processor was busy when the objective was missed."""
    if busy is None:
        return ""
    what = {
        SERVER_CORE: "the server's own core was",
        HOST_CPU: "the host's processors were",
        STEP_TIME: f"the {key.carrier_noun} was",
    }
    return f"; {what[busy.kind]} {min(busy.share, 1.0):.0%} busy then"
