"""A plan as Markdown: for a ticket, a wiki or a pull request."""

import re
from collections.abc import Sequence

from capacity.fleet.growth import in_words as trend_in_words
from capacity.planner.explanations import against
from capacity.reports.plan_terminal import about, level_title, limit_title
from whisper_ops.plan.plan_answer import five_lines, fleet_figures
from whisper_ops.plan.plan_document import Plan
from whisper_ops.plan.plan_sentences import limit_text, open_ended, result
from whisper_ops.untrusted_text import one_line

_MARKS = re.compile(r"[\\<\[\]]")
"""What begins a tag, a link or a picture. Stars, bars and backticks are our own, and harmless without these."""
_BEGINS_BLOCK = re.compile(r"[#>+=~-]|\d+[.)]")


def markdown(plan: Plan) -> str:
    """The whole plan."""
    answer, *why = five_lines(plan, plan.created_at)
    parts = [
        f"# {text(answer)}",
        "\n".join(f"- {text(line)}" for line in why),
        "\n".join(text(line) for line in about(plan)),
    ]
    if plan.fleet is not None and (figures := fleet_figures(plan.fleet)):
        parts.append(text(figures))
    if plan.trend is not None:
        parts.append(text(trend_in_words(plan.trend)))
    parts += ["## Resources", _resources(plan)]
    if plan.tiers:
        rows = [(tier.name, str(tier.connections), tier.cut, tier.stability) for tier in plan.tiers]
        parts += ["## Tiers", table(("tier", "connections a GPU", "cut", "stability"), rows)]
    if plan.levels:
        parts += ["## Levels", _levels(plan)]
    parts += [f"> {text(note)}" for note in plan.notes]
    return "\n\n".join(parts) + "\n"


def text(words: str) -> str:
    """Words as Markdown that shows them: no link, no picture, no HTML, no heading or list of their own."""
    plain = _MARKS.sub(r"\\\g<0>", one_line(words))
    return f"\\{plain}" if _BEGINS_BLOCK.match(plain) else plain


def fenced(lines: Sequence[str]) -> str:
    """Lines as a block of code, whatever they hold."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence, *map(one_line, lines), fence])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. One bold cell a row is ours: that of what binds."""
    lines = [[*map(_cell, header)], ["---"] * len(header), *([*map(_cell, row)] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(words: str) -> str:
    return _MARKS.sub(r"\\\g<0>", one_line(words)).replace("|", "\\|")


def _resources(plan: Plan) -> str:
    rows = [
        (
            f"**{resource.name}**" if resource is plan.binds and not open_ended(plan) else resource.name,
            resource.law,
            resource.cap_text,
            limit_text(resource),
            resource.evidence,
        )
        for resource in plan.resources
    ]
    return table(("resource", "law", "cap", limit_title(plan), "evidence"), rows)


def _levels(plan: Plan) -> str:
    rows = [
        (
            str(seen.streams),
            result(seen),
            "—" if seen.stable_p95_seconds is None else f"{seen.stable_p95_seconds:.2f} s",
            f"{seen.audit}, {seen.duration_seconds:.0f} s",
            against(seen),
        )
        for seen in plan.levels
    ]
    return table((level_title(plan), "result", "p95 stable", "evidence", "missed"), rows)
