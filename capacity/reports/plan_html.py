"""A plan as one HTML file that needs nothing else: no script, no font, no picture from another address."""

from html import escape

from capacity.fleet.growth import in_words as trend_in_words
from capacity.planner.explanations import against
from capacity.reports.html_page import page
from capacity.reports.law_chart import picture
from capacity.reports.plan_terminal import about, level_title, limit_title
from whisper_ops.plan.plan_answer import five_lines, fleet_figures
from whisper_ops.plan.plan_document import Plan, Resource
from whisper_ops.plan.plan_sentences import limit_text, open_ended, result

_LEGEND = (
    "Dots were measured, the line is the law, the dashed line the cap; the band is the 80 % interval of the limit, or "
    "last pass to first fail."
)


def html(plan: Plan) -> str:
    """The whole plan."""
    answer, *why = five_lines(plan, plan.created_at)
    sections = [
        f"<h1>{escape(answer)}</h1>",
        "".join(f"<p>{escape(line)}</p>" for line in why),
        f'<p class="dim">{"<br>".join(map(escape, about(plan)))}</p>',
        "" if plan.fleet is None else f"<p>{escape(fleet_figures(plan.fleet))}</p>",
        "" if plan.trend is None else f"<p>{escape(trend_in_words(plan.trend))}</p>",
        "<h2>Resources</h2>",
        _resources(plan),
        _tiers(plan),
        "<h2>Laws</h2>",
        '<div class="laws">' + "".join(_law(resource) for resource in plan.resources if resource.points) + "</div>",
        f'<p class="dim">{_LEGEND}</p>',
        _levels(plan),
        "".join(f'<p class="dim">{escape(note)}</p>' for note in plan.notes),
    ]
    return page(answer, sections)


def _law(resource: Resource) -> str:
    caption = f"<strong>{escape(resource.name)}</strong> <span class='dim'>{escape(resource.law)}</span>"
    return f"<figure><figcaption>{caption}</figcaption>{picture(resource)}</figure>"


def _resources(plan: Plan) -> str:
    rows = "".join(
        f"<tr{' class=binds' if resource is plan.binds and not open_ended(plan) else ''}>"
        + _cells(resource.name, resource.law, resource.cap_text)
        + f'<td class="number">{escape(limit_text(resource))}</td>'
        + _cells(resource.evidence)
        + "</tr>"
        for resource in plan.resources
    )
    return _table(("resource", "law", "cap", limit_title(plan), "evidence"), rows)


def _tiers(plan: Plan) -> str:
    if not plan.tiers:
        return ""
    told = any(tier.expected for tier in plan.tiers)  # laws need valid levels, and a provisional plan has none
    rows = "".join(
        "<tr>"
        + _cells(tier.name)
        + f'<td class="number">{tier.connections}</td>'
        + _cells(tier.cut, tier.stability, *([_expected(tier.expected, plan)] if told else []))
        + "</tr>"
        for tier in plan.tiers
    )
    header = ("tier", "connections a GPU", "cut", "stability", *(["expected"] if told else []))
    return "<h2>Tiers</h2>" + _table(header, rows)


def _expected(expected: dict[str, float], plan: Plan) -> str:
    units = {resource.name: resource.unit for resource in plan.resources}
    return ", ".join(f"{name} {value:.3g} {units[name]}".strip() for name, value in expected.items())


def _levels(plan: Plan) -> str:
    if not plan.levels:
        return ""
    rows = "".join(
        f'<tr><td class="number">{seen.streams}</td>'
        + _cells(
            result(seen),
            "—" if seen.stable_p95_seconds is None else f"{seen.stable_p95_seconds:.2f} s",
            f"{seen.audit}, {seen.duration_seconds:.0f} s",
            against(seen),
        )
        + "</tr>"
        for seen in plan.levels
    )
    return "<h2>Levels</h2>" + _table((level_title(plan), "result", "p95 stable", "evidence", "missed"), rows)


def _cells(*texts: str) -> str:
    return "".join(f"<td>{escape(text)}</td>" for text in texts)


def _table(header: tuple[str, ...], rows: str) -> str:
    return "<table><tr>" + "".join(f"<th>{name}</th>" for name in header) + f"</tr>{rows}</table>"
