"""A plan's answer in five lines: what to run, why, what ends it next, how sure that is, and what to do now.

Every place that shows an answer shows these lines. They are made of the plan's figures when they are shown, so that no
two places say different things, and ages are those of that moment.
"""

import math
import shlex
from pathlib import Path
from typing import NamedTuple

from whisper_ops.formatting import count, counted, number, percent, plural_of
from whisper_ops.objective.findings import OtherLoad
from whisper_ops.plan.plan_document import Plan, PlannedFleet
from whisper_ops.plan.plan_sentences import confidence, connections, limit_text, may_bind, open_ended

_FAR = 10.0
"""What ends later than at so many times the limit is not the next one."""


class PlanSummary(NamedTuple):
    """Five sentences, each whole by itself; the last one goes on with a command, where there is one to paste."""

    answer: str
    why: str
    next_limit: str
    confidence: str
    next_step: str
    """Without the command."""
    command: str

    @property
    def lines(self) -> tuple[str, str, str, str, str]:
        """As lines; the command at the end of the last one."""
        ending = f"{self.next_step}: `{self.command}`." if self.command else f"{self.next_step}."
        return self.answer, self.why, self.next_limit, self.confidence, ending


def five_lines(plan: Plan, now: float, history: Path | None = None) -> tuple[str, str, str, str, str]:
    """The answer as text: what to run, why, the next limit, how sure, and the next command. See `answered`."""
    return answered(plan, now, history).lines


def answered(plan: Plan, now: float, history: Path | None = None) -> PlanSummary:
    """The answer at `now`, UTC epoch seconds.

    `history`: the file that the plan was made from, where the next command would not find it by itself.
    """
    step, command = (plan.next_step, plan.next_command) if plan.next_command else (plan.next_test.rstrip("."), "")
    if not step:  # an older version kept no more than the columns
        step, command = "plan again, as another version made this plan", "whisper-ops plan"
    named = f" --history {shlex.quote(str(history))}" if command and history is not None else ""
    return PlanSummary(
        answer=_what_to_run(plan),
        why=f"Why: {_why(plan)}",
        next_limit=f"Next limit: {_next_limit(plan)}.",
        confidence=f"Confidence: {confidence(plan, now) or 'not known'}.",
        next_step=f"Next: {step}",
        command=f"{command}{named}",
    )


def fleet_figures(fleet: PlannedFleet) -> str:
    """What a fleet costs and how often it refuses; empty where no demand in calls a second and no price was given."""
    figures = []
    if fleet.offered is not None and fleet.blocking is not None and fleet.blocking_after_loss is not None:
        after = f" ({_chance(fleet.blocking_after_loss)} after a loss)" if fleet.spare_machines else ""
        figures.append(f"offered: {_erlangs(fleet.offered)}; blocking {_chance(fleet.blocking)}{after}.")
    if fleet.price_per_hour is not None and fleet.price_per_audio_hour is not None:
        figures.append(
            f"{fleet.price_per_hour:,.2f} {fleet.currency} an hour, "
            f"{fleet.price_per_audio_hour:.4f} {fleet.currency} an audio hour."
        )
    return " ".join(figures)


def _what_to_run(plan: Plan) -> str:
    words = [word for word, holds in (("provisional", plan.provisional), ("simulated", plan.simulated)) if holds]
    marks = f" ({', '.join(words)})" if words else ""
    most = plan.max_connections_per_gpu
    if most is None and plan.transferred_from is not None:
        if (plan.capacity.high or 0) < 1:
            return f"Not one connection is to be expected on {plan.key.device}{marks}."
        fit = f"At most about {connections(plan.capacity.high or 0)} connections fit per {plan.key.device}{marks}"
        return f"{fit}; its speed is not known."
    if most is None:
        each = " on every GPU" if any(level.repeats and level.passes == level.repeats for level in plan.levels) else ""
        taken = _other_load(plan)
        where = "on this device" if taken is None else f"while other programs had {taken.place}"
        return f"Not one connection{each} meets the objective {where}{marks}."
    carrier = plan.key.carrier if plan.transferred_from is None else plan.key.device
    allowed = f"{counted(most, 'connection')} per {carrier}{marks}"
    if plan.fleet is not None:
        fleet, ending = _fleet(plan, plan.fleet), "; the limit was not reached" if open_ended(plan) else ""
        return f"{fleet}, with {'' if ending else 'at most '}{allowed}{ending}."
    return f"Run {allowed} for now; the limit was not reached." if open_ended(plan) else f"Run at most {allowed}."


def _fleet(plan: Plan, fleet: PlannedFleet) -> str:
    lost = f", {fleet.spare_machines} of which may be lost" if fleet.spare_machines else ""
    size = f"{counted(fleet.gpus, plan.key.carrier_noun)} on {counted(fleet.machines, 'machine')}"
    return f"For {counted(fleet.calls, 'concurrent call')}: {size}{lost}"


def _why(plan: Plan) -> str:
    reason, cut = plan.reason.rstrip("."), f" {plan.cut[:1].upper()}{plan.cut[1:]}." if plan.cut else ""
    if plan.fleet is None:
        return f"{reason}.{cut}"
    return f"{_why_so_many(plan, plan.fleet)}. {count(plan.fleet.per_gpu)} each, because {reason}.{cut}"


def _why_so_many(plan: Plan, fleet: PlannedFleet) -> str:
    """How calls become devices and machines, which is rarely the quotient of two numbers."""
    noun, each = plan.key.carrier_noun, fleet.gpus // fleet.machines
    needed, machines = math.ceil(fleet.calls / fleet.per_gpu), fleet.machines - fleet.spare_machines
    calls, need = counted(fleet.calls, "call"), plural_of(fleet.calls, "needs", "need")
    if fleet.offered is not None and fleet.most_blocking is not None:
        refused = f"{_erlangs(fleet.offered)} with at most {percent(fleet.most_blocking)} refused"
        calls = f"{refused} are {calls} at once, which"
    needed_text = f"{calls} at {count(fleet.per_gpu)} each {need} {counted(needed, noun)}"
    spare = f", and {counted(fleet.spare_machines, 'more machine')} may be lost" if fleet.spare_machines else ""
    if each == 1:
        return f"{needed_text}{', one a machine' if machines > 1 else ''}{spare}"
    whole = f"{counted(machines, 'machine')} of {each}"
    return f"{needed_text}, so {whole}{spare}"


def _next_limit(plan: Plan) -> str:
    if plan.max_connections_per_gpu is None and plan.transferred_from is None:
        return "not known while not one connection passes"
    row = may_bind(plan) if open_ended(plan) else plan.next_to_bind
    if row is None or row.limit is None:
        return "no other is known"
    reached = ", not reached yet" if open_ended(plan) else ""
    known = max(plan.safe_limit or 0, plan.capacity.first_fail or 0)
    if known and not reached and (row.low or row.limit) > _FAR * known:
        return f"none within {_FAR:g} times this one"
    return f"{row.name}, at {limit_text(row)} connections per {plan.key.carrier}{reached}"


def _other_load(plan: Plan) -> OtherLoad | None:
    """What other programs had at the smallest level that failed."""
    failed = next((level for level in plan.levels if level.passes < level.repeats), None)
    findings = () if failed is None else failed.findings
    return next((finding for finding in findings if isinstance(finding, OtherLoad)), None)


def _erlangs(offered: float) -> str:
    return f"{number(offered, 0 if offered >= 10 else 1)} erlangs"


def _chance(share: float) -> str:
    return f"{share * 100:.2g} %" if share >= 1e-6 else "under 0.0001 %"
