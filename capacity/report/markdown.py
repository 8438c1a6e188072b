"""A plan as Markdown: for a ticket, a wiki or a pull request."""

from collections.abc import Sequence

from capacity.fleet.size import in_words as fleet_in_words
from capacity.fleet.trend import in_words as trend_in_words
from capacity.plan.shape import Plan
from capacity.plan.terminal import headline, limit_text, result_text
from capacity.plan.words import against


def markdown(plan: Plan) -> str:
    """The whole plan."""
    answer, *why = headline(plan)
    parts = [
        f"# {answer}",
        plan.key.title,
        "\n".join(f"- {line}" for line in why),
    ]
    if plan.fleet is not None:
        parts.append(f"**{fleet_in_words(plan.fleet)}**")
    if plan.trend is not None:
        parts.append(trend_in_words(plan.trend))
    parts += ["## Resources", _resources(plan)]
    if plan.tiers:
        rows = [(tier.name, str(tier.connections), tier.cut, tier.stability) for tier in plan.tiers]
        parts += ["## Tiers", table(("tier", "connections a GPU", "cut", "stability"), rows)]
    if plan.levels:
        parts += ["## Levels", _levels(plan)]
    parts += [f"> {note}" for note in plan.notes]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar within a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _resources(plan: Plan) -> str:
    rows = [
        (
            f"**{resource.name}**" if resource.name == plan.binding_resource else resource.name,
            resource.law,
            resource.cap_text,
            limit_text(resource),
            resource.evidence,
        )
        for resource in plan.resources
    ]
    return table(("resource", "law", "cap", "limit", "evidence"), rows)


def _levels(plan: Plan) -> str:
    rows = [
        (
            str(seen.streams),
            result_text(seen),
            "—" if seen.stable_p95_seconds is None else f"{seen.stable_p95_seconds:.2f} s",
            f"{seen.audit}, {seen.duration_seconds:.0f} s",
            against(seen),
        )
        for seen in plan.levels
    ]
    return table(("level", "result", "p95 stable", "evidence", "missed"), rows)
