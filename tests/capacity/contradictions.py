"""What a plan says held against its own figures: every sentence that a figure of the same plan denies."""

import io
import math
import re
from collections.abc import Iterator
from statistics import median

from rich.console import Console

from capacity.planner.law_checks import FILLS_UP
from capacity.reports.plan_report import brief
from capacity.reports.terminal import show
from whisper_ops.formatting import ago
from whisper_ops.objective import MEASURES
from whisper_ops.objective.findings import Missed, OtherLoad
from whisper_ops.plan.plan_answer import PlanSummary, answered
from whisper_ops.plan.plan_document import Plan, PlannedFleet, Resource
from whisper_ops.plan.plan_sentences import confidence, connections, limit_text, open_ended
from whisper_ops.plan.resource_kinds import LATENCY, POLLED_LAG, PORTS, STEP_TIME

_LINE = re.compile(r"^(-?[\d.,]+(?:e[+-]?\d+)?) ?(GB|%|s)? ([+−]) ([\d.,]+(?:e[+-]?\d+)?) ?(GB|%|s)? a connection$")


def contradictions(plan: Plan, slots: int | None = None) -> Iterator[str]:
    """Each in words. `slots`: the most streams that the server takes at once; None: not known."""
    yield from _five_lines(plan)
    yield from _next_command(plan, slots)
    if plan.fleet is not None:
        yield from _fleet(plan, plan.fleet)
    yield from _answer(plan)
    yield from _interval(plan)
    yield from _binding(plan)
    yield from _tiers(plan)
    yield from _certainty(plan)
    yield from _latency(plan)
    yield from _shown(plan)
    for resource in plan.resources:
        yield from (f"{resource.name}: {what}" for what in _resource(plan, resource))


def said(plan: Plan) -> PlanSummary:
    """The five lines when the plan was made."""
    return answered(plan, plan.created_at)


def numbers(text: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(r"(?<![\d.,])\d[\d,]*(?!\d|\.\d|,\d| ?%)", text)]


def _five_lines(plan: Plan) -> Iterator[str]:
    """Whole sentences, each of one thing, and none of what is not known."""
    lines = said(plan).lines
    begin = ("", "Why: ", "Next limit: ", "Confidence: ", "Next: ")
    for line, first in zip(lines, begin, strict=True):
        if not line.startswith(first) or not line.endswith(".") or line.endswith("..") or "\n" in line:
            yield f"{line!r} is no line of an answer"
        if re.search(r"\bNone\b|\bnan\b|\binf\b|—|  |\b0 (?:connections|GPUs|machines|streams)\b", line):
            yield f"{line!r} says what is not known"
    yield from _how_sure(plan, lines[3])
    disturbed = [f for seen in plan.levels for f in seen.findings if isinstance(f, OtherLoad)]
    if disturbed and not any("other programs" in note for note in plan.notes):
        yield f"no note of {disturbed[0]}"
    failed = next((seen for seen in plan.levels if seen.passes < seen.repeats), None)
    by_others = failed is not None and any(isinstance(finding, OtherLoad) for finding in failed.findings)
    if by_others and "on this device" in lines[0]:
        yield f"{lines[0]!r}, and other programs had it"
    if not by_others and "other programs" in lines[0]:
        yield f"{lines[0]!r}, and {failed} was undisturbed"
    if " + " in plan.key.device and not any("not alike" in note for note in plan.notes):
        yield f"{plan.key.device} are several kinds, and nothing is said of it"


def _how_sure(plan: Plan, line: str) -> Iterator[str]:
    status = plan.capacity.status
    if plan.provisional is not ("provisional" in line) and plan.transferred_from is None:
        yield f"{line!r} of a plan that is{'' if plan.provisional else ' not'} provisional"
    if "both ends" in line and status != "identified":
        yield f"{line!r}, and it is {status}"
    if re.search(r"\b(0|100) %", line) and "80 % sure of 0" not in line:
        yield f"{line!r} is quite sure"
    chances = {seen.streams: seen.chance for seen in plan.levels if seen.chance is not None}
    for streams, percent in re.findall(r"(\d[\d,]*) streams? (?:over |under )?(\d+) %", line):
        chance = chances.get(int(streams.replace(",", "")))
        if chance is None or abs(100 * chance - int(percent)) > 1:
            yield f"{line!r}, and the chance at {streams} is {chance}"


def _next_command(plan: Plan, slots: int | None) -> Iterator[str]:
    found = re.search(r"--levels ([\d,]+)", plan.next_command)
    levels = [] if found is None else [int(level) for level in found[1].split(",")]
    if set(levels) != set(plan.next_levels):
        yield f"{plan.next_command!r} is not of the levels {plan.next_levels}"
    if plan.next_levels and not {*plan.next_levels} <= {*numbers(plan.next_step)}:
        yield f"{plan.next_step!r} does not name {plan.next_levels}"
    if slots is not None and plan.transferred_from is None and max(levels, default=0) > slots:
        yield f"{plan.next_command!r} of a server with {slots} slots"
    about = re.search(r"\(about (\d+) (s|min)\)", plan.next_step)
    least = len(levels) * (plan.next_seconds or 0.0)
    if levels and (about is None or int(about[1]) * {"s": 1, "min": 60}[about[2]] < least - 30):
        yield f"{plan.next_step!r} takes {least:.0f} s at least"
    if plan.next_test != (f"{plan.next_step}: `{plan.next_command}`" if plan.next_command else plan.next_step):
        yield f"{plan.next_test!r} is not {plan.next_step!r} and {plan.next_command!r}"


def _fleet(plan: Plan, fleet: PlannedFleet) -> Iterator[str]:
    answer, why, *_ = said(plan)
    each = fleet.gpus // fleet.machines
    left = fleet.machines - fleet.spare_machines
    if fleet.per_gpu != plan.max_connections_per_gpu or fleet.gpus != each * fleet.machines:
        yield f"{fleet} is not of {plan.max_connections_per_gpu} a GPU"
    if not (left - 1) * each * fleet.per_gpu < fleet.calls <= left * each * fleet.per_gpu == fleet.slots_after_loss:
        yield f"{fleet} is not the smallest"
    if not {fleet.calls, fleet.gpus, fleet.machines, fleet.per_gpu} <= {*numbers(answer)}:
        yield f"{answer!r} is not of {fleet}"
    if not {fleet.calls, fleet.per_gpu, math.ceil(fleet.calls / fleet.per_gpu)} <= {*numbers(why)}:
        yield f"{why!r} does not say why {fleet}"
    if each > 1 and not {left, each} <= {*numbers(why)}:
        yield f"{why!r} does not say why {fleet.machines} machines of {each}"
    if (fleet.spare_machines > 0) != ("may be lost" in answer) or (fleet.spare_machines > 0) != ("may be lost" in why):
        yield f"{answer!r} with {fleet.spare_machines} spare machines"


def _answer(plan: Plan) -> Iterator[str]:
    answer, why, *_ = said(plan)
    most = plan.max_connections_per_gpu
    if most is not None and most not in numbers(answer):
        yield f"the answer {answer!r} is not {most}"
    if open_ended(plan) and re.search(r"at most", answer):
        yield f"{answer!r}, though nothing was found to end it"
    if plan.safe_limit is not None and most != max(1, math.floor(0.9 * plan.safe_limit + 1e-9)):
        yield f"{most} is not 90 % of {plan.safe_limit}"
    if plan.safe_limit is not None and plan.safe_limit not in numbers(plan.cut) and plan.safe_limit > 1:
        yield f"{plan.cut!r} is not cut from {plan.safe_limit}"
    last, fail = plan.capacity.last_pass, plan.capacity.first_fail
    if plan.levels and most is not None and last is not None and most > last:
        yield f"{most} is more than {last} that passed"
    if "(first fail)" in why and (fail not in numbers(why) or last not in numbers(why)):
        yield f"{why!r} names neither {last} nor {fail}"
    if plan.key.gpus > 1 and plan.levels and plan.capacity.status != "upper_bound" and plan.key.each not in why:
        yield f"{why!r} does not say that its numbers are of one {plan.key.carrier_noun}"


def _interval(plan: Plan) -> Iterator[str]:
    capacity = plan.capacity
    ends = [end for end in (capacity.low, capacity.estimate, capacity.high) if end is not None]
    if ends != sorted(ends):
        yield f"the interval {ends} is no interval"
    if capacity.first_fail is None and capacity.last_pass is not None:
        passed = [s.streams for s in plan.levels if s.repeats and s.passes == s.repeats]
        if passed and max(passed[-1] // plan.key.gpus, 1) > capacity.last_pass:
            yield f"{passed[-1]} passed and the last pass is {capacity.last_pass}"


def _binding(plan: Plan) -> Iterator[str]:
    binds, after = plan.binds, plan.next_to_bind
    yield from _what_was_missed(plan)
    if plan.binding_kind and binds is None:
        yield f"{plan.binding_resource} binds and has no row"
    unknown = plan.transferred_from is not None  # and not impossible
    if plan.max_connections_per_gpu is None and not unknown and binds is not None and (binds.limit or 0) >= 1:
        yield f"nothing passes, and what binds, {binds.name}, allows {binds.limit:.0f}"
    if binds is not None and plan.safe_limit is not None and plan.capacity.status != "lower_bound":
        most = binds.high if binds.high is not None else binds.limit
        if most is not None and plan.safe_limit > max(math.floor(most + 1e-9), 1):
            yield f"{binds.name} allows {most:.1f}, and {plan.safe_limit} are safe"
    if after is None:
        return
    if after.kind == plan.binding_kind or (plan.waits_for is not None and after.kind == plan.waits_for.kind):
        yield f"{after.name} is next to bind, and binds already"
    if after.limit is not None and plan.safe_limit is not None and math.floor(after.limit + 1e-9) < plan.safe_limit:
        yield f"{after.name} is next, at {after.limit:.1f}, before the {plan.safe_limit} that are safe"
    yield from _next_in_line(plan, after)


def _next_in_line(plan: Plan, after: Resource) -> Iterator[str]:
    told = said(plan).next_limit
    if told == "Next limit: none within 10 times this one.":
        known = max(plan.safe_limit or 0, plan.capacity.first_fail or 0)
        if open_ended(plan) or _first(after) <= 10 * known:
            yield f"{told!r}, and {after.name} ends at {limit_text(after)}, where {known} is known"
    elif open_ended(plan):
        rows = [
            row for row in plan.resources if row.limit is not None and row.status == "identified" and row.kind != PORTS
        ]
        sooner = [row for row in rows if _first(row) < _first(after) - 1e-9]
        if limit_text(after) not in told and not any(limit_text(row) in told for row in sooner):
            yield f"{told!r} is of no row that ends first"
        if sooner and limit_text(after) in told and not _agree(sooner[0], after):
            yield f"{told!r}, and {sooner[0].name} ends at {limit_text(sooner[0])}"
    elif limit_text(after) not in told:
        yield f"{told!r} is not the {limit_text(after)} of its row"


def _first(row: Resource) -> float:
    """The first load at which it may end."""
    return (row.limit or 0.0) if row.low is None else row.low


def _agree(one: Resource, other: Resource) -> bool:
    """Whether they are the lag and the batch law of one limit, of which the surer one is shown."""
    return {one.kind, other.kind} <= {POLLED_LAG, STEP_TIME}


def _what_was_missed(plan: Plan) -> Iterator[str]:
    first = next((seen for seen in plan.levels if seen.passes < seen.repeats), None)
    missed = [f for f in (first.findings if first and first.repeats == 1 else ()) if isinstance(f, Missed)]
    times = [f for f in missed if MEASURES[f.measure].unit == "seconds"]
    if missed and not times and "latency" in (plan.binding_resource or ""):
        yield f"{plan.binding_resource} binds, and {missed[0]} at the first fail"
    if open_ended(plan) and plan.next_to_bind is not None and "not reached" not in said(plan).next_limit:
        yield f"{said(plan).next_limit!r}, and the limit was not reached"


def _tiers(plan: Plan) -> Iterator[str]:
    loads = [tier.connections for tier in plan.tiers]
    if loads != sorted(loads):
        yield f"tiers {loads} do not rise"
    if loads and plan.max_connections_per_gpu not in loads:
        yield f"tiers {loads} without the {plan.max_connections_per_gpu} that is recommended"
    for resource in plan.resources:
        ends = (
            resource.kind in FILLS_UP
            and resource.kind != PORTS
            and resource.status == "identified"
            and resource.high is not None
        )
        if loads and ends and loads[-1] > max(math.floor(resource.high or 0), plan.safe_limit or 0):
            yield f"the tier of {loads[-1]} is beyond {resource.high:.1f}, where {resource.name} is full"
    for tier in plan.tiers:
        for name, value in tier.expected.items():
            row = next(row for row in plan.resources if row.name == name)
            if row.points and value < 0.2 * min(y for _, y in row.points) - 1e-9:
                least = min(y for _, y in row.points)
                yield f"{tier.name} expects {value:.3g} {row.unit} of {name}, and the least ever read is {least:.3g}"
            if row.unit == "%" and value > 100.0 + 1e-9:
                yield f"{tier.name} expects {value:.0f} % of {name}"


def _certainty(plan: Plan) -> Iterator[str]:
    told = " ".join([*said(plan), *(f"{tier.stability} {tier.cut}" for tier in plan.tiers)])
    if "guaranteed" in told:
        yield "something is guaranteed"
    chances = [seen.chance for seen in plan.levels if seen.chance is not None]
    if chances != sorted(chances, reverse=True):
        yield f"the chances {chances} rise with load"
    for tier in plan.tiers:
        if tier.stability.startswith("stable"):
            above = [s for s in plan.levels if s.repeats and s.streams >= tier.connections * plan.key.gpus]
            if plan.provisional or not any(s.audit == "valid" and s.passes == s.repeats for s in above):
                yield f"{tier.name} is called {tier.stability}, and no long level shows it"
            if above and (above[0].chance or 0) < 0.5:
                yield f"{tier.name} is called {tier.stability} beside a chance of {above[0].chance}"
    ended = [level for level in plan.levels if level.repeats]
    if plan.provisional and ended and not re.search(r"whisper-ops sweep \S+ --levels [\d,]+", plan.next_test):
        yield f"a provisional plan is to be made firm by {plan.next_test!r}, which cannot be pasted"


def _resource(plan: Plan, row: Resource) -> Iterator[str]:
    if row.limit is not None:
        ends = [end for end in (row.low, row.limit, row.high) if end is not None]
        if ends != sorted(ends):
            yield f"its interval {ends} is none"
    found = _LINE.match(row.law)
    if found is not None and row.unit:
        yield from _line(row, found)
    if row.limit is not None and row.kind != LATENCY and row.status != "lower_bound":
        last = plan.capacity.last_pass
        denied = row.kind in FILLS_UP
        if plan.levels and last is not None and not denied and math.floor(row.high or row.limit) < last:
            yield f"it allows {limit_text(row)}, and {last} passed"
    if row.law.startswith(("-", "−")):
        yield f"{row.law} is less than nothing with nothing connected"
    yield from _curve(row)


def _line(row: Resource, found: re.Match[str]) -> Iterator[str]:
    base, each = float(found[1].replace(",", "")), float(found[4].replace(",", ""))
    each = each if found[3] == "+" else -each
    if row.cap is None:
        return
    if base > row.cap * 1.001 and (row.limit or 0) >= 1:
        yield f"{row.law} is over its cap of {row.cap_text} at 0, and it allows {limit_text(row)}"
    if row.limit is None or row.status == "lower_bound" or row.limit == 0:
        return
    at = base + each * row.limit
    # Both are printed with three digits.
    slack = 0.02 * row.cap + 0.006 * (abs(base) + abs(each * row.limit)) + each
    if abs(at - row.cap) > slack:
        yield f"{row.law} is {at:.3g} at {row.limit:.1f}, where it should be {row.cap_text}"


def _curve(row: Resource) -> Iterator[str]:
    if not row.curve:
        return
    if any(y < 0 for _, y in row.curve):
        yield "its law falls below nothing"
    if row.unit == "%" and any(y > 100 + 1e-9 for _, y in row.curve):
        yield "its law is over 100 %"
    ys = [y for _, y in row.curve]
    if row.kind != LATENCY and ys[-1] < ys[0] - 1e-9 * max(ys):
        yield f"its law falls from {ys[0]:.3g} to {ys[-1]:.3g}"
    if row.points and row.kind not in (LATENCY, POLLED_LAG):
        yield from _beside_readings(row)


def _beside_readings(row: Resource) -> Iterator[str]:
    scale = max(y for _, y in row.points)
    inside = [(y, expected) for x, y in row.points if (expected := row.expected(x)) is not None]
    far = sum(abs(expected - y) > max(0.35 * y, 0.15 * scale) for y, expected in inside)
    if inside and far > max(1, 0.25 * len(inside)):
        yield f"its law is far from {far} of {len(inside)} readings"
    least = min(x for x, _ in row.points)
    if row.expected(least / 2) is not None and least > 2:
        yield f"its law speaks of {least / 2:.0f} connections, and none below {least:.0f} was read"
    if row.law.startswith("does not grow"):
        first, last, middle = row.curve[0][1], row.curve[-1][1], median(y for _, y in row.points)
        if first != last or not 0.5 * middle - 1e-9 <= first <= 2 * middle + 1e-9:
            yield f"it does not grow, and its law goes from {first:.3g} to {last:.3g} beside a reading of {middle:.3g}"


def _latency(plan: Plan) -> Iterator[str]:
    """The law of the latency beside what levels were seen to do, and beside what is recommended by it."""
    row = plan.resource(LATENCY)
    if row is None or row.cap is None:
        return
    for tier in plan.tiers:
        expected = tier.expected.get(row.name)
        if expected is not None and tier.connections <= (plan.safe_limit or 0) and expected > row.cap:
            yield f"{tier.name} expects {expected:.2f} s, over the objective of {row.cap_text}"
    for seen in plan.levels:
        expected = row.expected(seen.streams_per_gpu)
        if expected is None or not seen.repeats or seen.stable_p95_seconds is None or "stable" not in row.law:
            continue
        if seen.passes == seen.repeats and expected > 2 * max(row.cap, seen.stable_p95_seconds):
            yield f"{seen.streams} passed with {seen.stable_p95_seconds:.2f} s, and its law says {expected:.2f} s"


def _shown(plan: Plan) -> Iterator[str]:
    """What stands on the screens: the whole report of the terminal."""
    file = io.StringIO()
    show(brief(plan), Console(file=file, width=200, force_terminal=False))
    marked = [line for line in file.getvalue().splitlines() if "◀" in line]
    if len(marked) > 1:
        yield f"{len(marked)} things bind"
    if any(int(one) < 1 for load in re.findall(r"--levels ([\d,]+)", plan.next_test) for one in load.split(",")):
        yield f"{plan.next_test!r} asks for nothing"
    yield from _evidence(plan)
    yield from _numbers_of_reasons(plan)


def _evidence(plan: Plan) -> Iterator[str]:
    told = confidence(plan, plan.created_at)
    for audit, word in (("valid", "valid"), ("provisional", "short")):
        count = sum(s.repeats for s in plan.levels if s.audit == audit)
        if count and f"{count} {word} level" not in told:
            yield f"{told!r} does not count {count} {word} levels"
    newest = plan.newest_evidence_at
    if plan.levels and newest is not None and ago(plan.created_at - newest) not in told:
        yield f"{told!r} is not of its levels' age"


def _numbers_of_reasons(plan: Plan) -> Iterator[str]:
    answer, binds = said(plan).answer, plan.binds
    if plan.transferred_from is not None:
        most = connections(plan.capacity.high or 0)
        if plan.max_connections_per_gpu is None and most != "0" and not (most in answer and most in plan.reason):
            yield f"{answer!r} and {plan.reason!r} name two numbers"
    elif not plan.levels and plan.capacity.status == "identified" and binds is not None:
        named = binds.name in plan.reason and connections(binds.limit or 0) in plan.reason
        if not named:
            yield f"{plan.reason!r} is not about {binds.name}, which binds at {limit_text(binds)}"
