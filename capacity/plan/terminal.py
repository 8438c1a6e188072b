"""The plan as a person reads it in a terminal: the answer first, the reason second, the figures third."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from capacity.fleet.size import in_words as fleet_in_words
from capacity.fleet.trend import in_words as trend_in_words
from capacity.plan.words import against
from whisper_ops.console import table_width
from whisper_ops.formatting import counted
from whisper_ops.objective import readable
from whisper_ops.objective.findings import OtherLoad
from whisper_ops.plan_document import LevelSeen, Plan, Resource
from whisper_ops.plan_words import connections, limit_text, may_bind, open_ended, result

_WIDE = 120
"""Columns from which a line of configuration fits beside the row that it raises."""


def show(plan: Plan, console: Console) -> None:
    """Print a plan; a terminal gets lines that break between words, a file one line a sentence."""
    width = table_width(console)
    answer, *why = headline(plan)
    apart = "   " if len(answer) + len(plan.key.title) < console.width else "\n"
    console.print(Text.assemble((answer, "bold"), apart, plan.key.title), soft_wrap=not console.is_terminal)
    for line in why:
        console.print(line, soft_wrap=not console.is_terminal, markup=False)
    console.print()
    if plan.levels:
        console.print(_levels(plan), width=width)
        console.print()
    console.print(_resources(plan, narrow=width < _WIDE), width=width)
    for resource in _fixed(plan) if width < _WIDE else ():
        console.print(f"to raise {resource.name}: {resource.fix}", soft_wrap=True, markup=False)
    console.print()
    if plan.tiers:
        console.print(
            "tiers: " + " · ".join(f"{tier.name} {tier.connections}" for tier in plan.tiers),
            soft_wrap=not console.is_terminal,
        )
        cuts = "; ".join(f"{tier.name} is {tier.cut}, {tier.stability}" for tier in plan.tiers)
        console.print(Text(f"how cut: {cuts}.", style="dim"), soft_wrap=not console.is_terminal)
    if plan.fleet is not None:
        console.print(fleet_in_words(plan.fleet), soft_wrap=not console.is_terminal, markup=False)
    if plan.trend is not None:
        console.print(trend_in_words(plan.trend), soft_wrap=not console.is_terminal, markup=False)
    for note in plan.notes:
        console.print(f"note: {note}", soft_wrap=not console.is_terminal, markup=False)


def headline(plan: Plan) -> list[str]:
    """The answer, why, how sure, and what to do to be surer; with `provisional` and `simulated` wherever it is so."""
    words = [word for word, holds in (("provisional", plan.provisional), ("simulated", plan.simulated)) if holds]
    marks = f" ({', '.join(words)})" if words else ""
    if plan.transferred_from is not None and plan.max_connections_per_gpu is None:
        most = f"At most about {connections(plan.capacity.high or 0)} connections fit per {plan.key.device}{marks}"
        answer = f"{most}; its speed is not known."
    elif plan.max_connections_per_gpu is None:
        each = " on every GPU" if any(seen.repeats and seen.passes == seen.repeats for seen in plan.levels) else ""
        where = "while other programs had the processors" if _other_load(plan) else "on this device"
        answer = f"Not one connection{each} meets the objective {where}."
    else:
        number = plan.max_connections_per_gpu
        allowed = f"{counted(number, 'connection')} per {plan.key.carrier}{marks}"
        answer = f"Run {allowed} for now; the limit was not reached." if open_ended(plan) else f"Run at most {allowed}."
    lines = [
        answer,
        f"Why: {plan.reason}. {_sentence(plan.cut)}".rstrip(),
        f"Objective: {readable(plan.objective)}.",
    ]
    what, after = ("May bind first", may_bind(plan)) if open_ended(plan) else ("Next to bind", plan.next_to_bind)
    if after is not None and after.limit is not None:
        lines.append(f"{what}: {after.name}, at {limit_text(after)}.")
    lines += [f"Sure? {plan.sure}.", f"To be surer: {plan.next_test}."]
    return lines


def _other_load(plan: Plan) -> bool:
    return any(isinstance(finding, OtherLoad) for seen in plan.levels for finding in seen.findings)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _levels(plan: Plan) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in (level_title(plan), "result", "p95 stable", "evidence", "missed"):
        right = name in (level_title(plan), "p95 stable")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "missed")
    for seen in plan.levels:
        lag = "—" if seen.stable_p95_seconds is None else f"{seen.stable_p95_seconds:.2f} s"
        missed = against(seen)
        table.add_row(str(seen.streams), _result(seen), lag, f"{seen.audit}, {seen.duration_seconds:.0f} s", missed)
    return table


def _result(seen: LevelSeen) -> Text:
    colour = {"✓": "green", "✕": "red"}.get(result(seen)[0], "yellow")
    return Text(result(seen), style=colour)


def _fixed(plan: Plan) -> list[Resource]:
    return [resource for resource in plan.resources if resource.fix and resource.limit is not None]


def _resources(plan: Plan, *, narrow: bool) -> Table:
    table = Table(box=None, padding=(0, 1 if narrow else 2, 0, 0), header_style="dim")
    for name in ("resource", "law", "cap"):
        table.add_column(name)
    table.add_column(limit_title(plan), justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("evidence")
    for resource in plan.resources:
        if not resource.points and resource.limit is None:
            continue
        binds = "◀" if resource is plan.binds and not open_ended(plan) else ""
        fix = f"  fix: {resource.fix}" if resource in _fixed(plan) and not narrow else ""
        table.add_row(
            resource.name, resource.law, resource.cap_text, limit_text(resource), binds, resource.evidence + fix
        )
    return table


def level_title(plan: Plan) -> str:
    """What the streams of a level are on: with several GPUs on all of them together."""
    return "level" if plan.key.gpus == 1 else f"level, {plan.key.gpus} GPUs"


def limit_title(plan: Plan) -> str:
    """Whose limits those of resources are."""
    return "limit" if plan.key.gpus == 1 else "limit a GPU"
