"""The plan as a person reads it in a terminal: the answer in five lines, then the figures that matter for it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from capacity.fleet.growth import in_words as trend_in_words
from capacity.planner.explanations import against
from whisper_ops.console import table_width
from whisper_ops.formatting import counted
from whisper_ops.objective import readable
from whisper_ops.plan.plan_answer import PlanSummary, answered, fleet_figures
from whisper_ops.plan.plan_document import LevelSeen, Plan, Resource
from whisper_ops.plan.plan_sentences import limit_text, open_ended, result

_WIDE = 120
"""Columns from which a line of configuration fits beside the row that it raises."""
_NEAR = 2.0
"""What ends later than at so many times the highest tier is no matter for this limit."""


def show(plan: Plan, console: Console, *, details: bool = False, history: Path | None = None) -> None:
    """Print a plan; a terminal gets lines that break between words, a file one line a sentence.

    Args:
        plan: what to print.
        console: where.
        details: with every resource, and how the tiers were cut.
        history: the file it was made from, where the next command would not find it by itself.
    """
    width, whole = table_width(console), not console.is_terminal
    _answer(answered(plan, plan.created_at, history), console)
    console.print()
    for line in about(plan):
        console.print(line, soft_wrap=whole, style="dim")
    console.print()
    if plan.levels:
        console.print(_levels(plan), width=width)
        console.print()
    _show_resources(plan, console, width, details=details)
    console.print()
    for line in _closing(plan, details=details):
        console.print(line, soft_wrap=whole)


def _show_resources(plan: Plan, console: Console, width: int, *, details: bool) -> None:
    known = [resource for resource in plan.resources if resource.points or resource.limit is not None]
    shown = known if details else relevant(plan, known)
    if shown:
        console.print(_resources(plan, shown, narrow=width < _WIDE), width=width)
    for resource in _fixed(shown) if width < _WIDE else ():
        console.print(f"to raise {resource.name}: {resource.fix}", soft_wrap=True)
    if hidden := len(known) - len(shown):
        console.print(f"{counted(hidden, 'resource')} far from a limit, or without one: --details", style="dim")


def _closing(plan: Plan, *, details: bool) -> Iterator[str]:
    """What stands after the tables."""
    if plan.tiers:
        yield "tiers: " + " · ".join(f"{tier.name} {tier.connections}" for tier in plan.tiers)
    if plan.tiers and details:
        yield f"how cut: {'; '.join(f'{tier.name} is {tier.cut}, {tier.stability}' for tier in plan.tiers)}."
    if plan.fleet is not None and (figures := fleet_figures(plan.fleet)):
        yield figures
    if plan.trend is not None:
        yield trend_in_words(plan.trend)
    yield from (f"note: {note}" for note in plan.notes)
    yield from (f"left out: {key}" for key in plan.other_keys if details)


def about(plan: Plan) -> tuple[str, str, str]:
    """What was measured, how it was loaded, and what it was held to."""
    return plan.key.title, f"Load: {plan.key.conditions}.", f"Objective: {readable(plan.objective)}."


def relevant(plan: Plan, known: Sequence[Resource]) -> list[Resource]:
    """The resources near the limit: what binds, what is next, and what would end it within twice the load."""
    ends = [plan.safe_limit or 0, *(tier.connections for tier in plan.tiers)]
    near = _NEAR * max(ends)
    first = (plan.binds, plan.next_to_bind)
    return [row for row in known if row in first or (row.limit is not None and (row.low or row.limit) <= near)]


def _answer(said: PlanSummary, console: Console) -> None:
    """Five lines. On a terminal the command has a line of its own, which can be copied as it is."""
    whole = not console.is_terminal
    *lines, last = said.lines
    for line in lines:
        console.print(line, soft_wrap=whole, style="bold" if line == said.answer else "")
    if whole or not said.command:
        console.print(last, soft_wrap=whole)
        return
    console.print(f"{said.next_step}:")
    console.print(f"  {said.command}", soft_wrap=True)


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


def _fixed(rows: Sequence[Resource]) -> list[Resource]:
    return [resource for resource in rows if resource.fix and resource.limit is not None]


def _resources(plan: Plan, rows: Sequence[Resource], *, narrow: bool) -> Table:
    table = Table(box=None, padding=(0, 1 if narrow else 2, 0, 0), header_style="dim")
    for name in ("resource", "law", "cap"):
        table.add_column(name)
    table.add_column(limit_title(plan), justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("evidence")
    for resource in rows:
        binds = "◀" if resource is plan.binds and not open_ended(plan) else ""
        fix = f"  fix: {resource.fix}" if resource in _fixed(rows) and not narrow else ""
        table.add_row(
            resource.name, resource.law, resource.cap_text, limit_text(resource), binds, resource.evidence + fix
        )
    return table


def level_title(plan: Plan) -> str:
    """What the streams of a level are on: with several GPUs on all of them together."""
    return "level" if plan.key.gpus == 1 else f"level, {counted(plan.key.gpus, plan.key.carrier_noun)}"


def limit_title(plan: Plan) -> str:
    """Whose limits those of resources are."""
    return f"limit{plan.key.each}"
