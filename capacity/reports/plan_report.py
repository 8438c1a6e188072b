"""A plan as a report: the answer in five lines, what was measured, then levels, resources, tiers and laws."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from capacity.fleet.growth import trend_text
from capacity.planner.explanations import missed_text
from capacity.reports.output import Output
from capacity.reports.plots import Plot, Series
from capacity.reports.report import Report, ReportTable, Section, columns
from capacity.reports.terminal import show
from whisper_ops.formatting import counted
from whisper_ops.objective import readable
from whisper_ops.plan.plan_answer import answered, fleet_figures
from whisper_ops.plan.plan_document import Plan, Resource, Tier
from whisper_ops.plan.plan_sentences import limit_text, open_ended, result

_NEAR = 2.0
"""What ends later than at so many times the highest tier is no matter for this limit."""
_LEGEND = (
    "Dots were measured, the line is the law, the dashed line the cap; the band is the 80 % interval of the limit, or "
    "last pass to first fail."
)


def output(
    plan: Plan, *, details: bool = False, history: Path | None = None, configuration: Callable[[], str] | None = None
) -> Output:
    """A plan in its forms.

    Args:
        plan: what to show.
        details: whether a terminal gets every resource, how the tiers were cut, and what was left out.
        history: the file that the plan was made from, where the next command would not find it by itself.
        configuration: makes the configuration that was asked for.
    """
    return Output(
        schema="plan",
        body=lambda: msgspec.to_builtins(plan),
        show=lambda console: show(brief(plan, details=details, history=history), console),
        report=lambda: report(plan),
        configuration=configuration,
    )


def report(plan: Plan) -> Report:
    """All of a plan, for Markdown and HTML."""
    sections = [Section(lines=tuple(_demand(plan))), Section(heading="Resources", table=_resources(plan))]
    if plan.tiers:
        sections.append(Section(heading="Tiers", table=_tiers(plan)))
    if plots := tuple(law_plot(resource) for resource in plan.resources if resource.points):
        sections.append(Section(heading="Laws", lines=(_LEGEND,), plots=plots))
    if plan.levels:
        sections.append(Section(heading="Levels", table=_levels(plan)))
    return _answered(plan, sections)


def brief(plan: Plan, *, details: bool = False, history: Path | None = None) -> Report:
    """What a terminal shows of a plan: the resources near the limit, and tiers in one line. See `output`."""
    sections = [Section(table=_levels(plan))] if plan.levels else []
    known = [resource for resource in plan.resources if resource.points or resource.limit is not None]
    shown = known if details else relevant(plan, known)
    if shown:
        sections.append(Section(table=_resources(plan, shown)))
    more = [f"to raise {row.name}: {row.fix}" for row in shown if row.fix and row.limit is not None]
    if hidden := len(known) - len(shown):
        more.append(f"{counted(hidden, 'resource')} far from a limit, or without one: --details")
    sections += [Section(lines=tuple(lines)) for lines in (more, [*_tier_lines(plan, details=details)]) if lines]
    return _answered(plan, sections, history)


def _answered(plan: Plan, sections: Sequence[Section], history: Path | None = None) -> Report:
    found = answered(plan, plan.created_at, history)
    return Report(
        answer=found.answer,
        lines=(found.why, found.next_limit, found.confidence),
        next_step=found.next_step,
        command=found.command,
        about=(plan.key.title, f"Load: {plan.key.conditions}.", f"Objective: {readable(plan.objective)}."),
        sections=tuple(sections),
        notes=plan.notes,
    )


def relevant(plan: Plan, known: Sequence[Resource]) -> list[Resource]:
    """The resources near the limit: what binds, what is next, and what would end it within twice the load."""
    near = _NEAR * max([plan.safe_limit or 0, *(tier.connections for tier in plan.tiers)])
    first = (plan.binds, plan.next_to_bind)
    return [row for row in known if row in first or (row.limit is not None and (row.low or row.limit) <= near)]


def _demand(plan: Plan) -> Iterator[str]:
    if plan.fleet is not None and (figures := fleet_figures(plan.fleet)):
        yield figures
    if plan.trend is not None:
        yield trend_text(plan.trend)


def _tier_lines(plan: Plan, *, details: bool) -> Iterator[str]:
    if plan.tiers:
        yield "tiers: " + " · ".join(f"{tier.name} {tier.connections}" for tier in plan.tiers)
    if plan.tiers and details:
        yield f"how cut: {'; '.join(f'{tier.name} is {tier.cut}, {tier.stability}' for tier in plan.tiers)}."
    yield from _demand(plan)
    yield from (f"left out: {key}" for key in plan.other_keys if details)


def _resources(plan: Plan, shown: Sequence[Resource] | None = None) -> ReportTable:
    shown = plan.resources if shown is None else shown
    limit = f"limit{plan.key.each}"
    binds = next((k for k, row in enumerate(shown) if row is plan.binds and not open_ended(plan)), None)
    rows = tuple((row.name, row.law, row.cap_text, limit_text(row), row.evidence) for row in shown)
    return ReportTable(columns("resource", "law", "cap", limit, "evidence", figures=[limit]), rows, binds)


def _tiers(plan: Plan) -> ReportTable:
    with_laws = any(tier.expected for tier in plan.tiers)  # laws need valid levels, and a provisional plan has none
    units = {resource.name: resource.unit for resource in plan.resources}
    rows = tuple(
        (tier.name, str(tier.connections), tier.cut, tier.stability, *([_expected(tier, units)] if with_laws else []))
        for tier in plan.tiers
    )
    titles = ("tier", "connections a GPU", "cut", "stability", *(["expected"] if with_laws else []))
    return ReportTable(columns(*titles, figures=["connections a GPU"]), rows)


def _expected(tier: Tier, units: dict[str, str]) -> str:
    return ", ".join(f"{name} {value:.3g} {units[name]}".strip() for name, value in tier.expected.items())


def _levels(plan: Plan) -> ReportTable:
    """With several GPUs the streams of a level are on all of them together."""
    title = "level" if plan.key.gpus == 1 else f"level, {counted(plan.key.gpus, plan.key.carrier_noun)}"
    rows = tuple(
        (
            str(level.streams),
            result(level),
            "—" if level.stable_p95_seconds is None else f"{level.stable_p95_seconds:.2f} s",
            f"{level.audit}, {level.duration_seconds:.0f} s",
            missed_text(level),
        )
        for level in plan.levels
    )
    titles = columns(title, "result", "p95 stable", "evidence", "missed", figures=[title, "p95 stable"])
    return ReportTable(titles, rows)


def law_plot(resource: Resource) -> Plot:
    """What was measured of a resource, the law through it, the cap, and the interval of its limit."""
    loads = [load for load, _ in resource.points]
    figures = [figure for _, figure in resource.points]
    ends = [end for end in (resource.limit, resource.high) if end is not None and end <= 4 * max(loads)]
    x_top = 1.08 * max([*loads, *ends])
    near_cap = [resource.cap] if resource.cap is not None and resource.cap <= 20 * max(*figures, 1e-12) else []
    y_top = max([*figures, *near_cap])
    if resource.cap is not None and y_top > 4 * resource.cap:  # a cliff: show the law around its cap
        y_top = 4 * resource.cap
    low, high = resource.low, resource.high
    return Plot(
        title=resource.name,
        subtitle=resource.law,
        x_label="connections a GPU",
        y_label=f"{resource.name}, {resource.unit}".rstrip(", "),
        series=(
            Series("law", resource.curve, dots=False),
            Series("measured", resource.points, line=False),
        ),
        limits=() if resource.cap is None else ((resource.cap_text, resource.cap),),
        band=None if low is None or high is None or low > x_top else (low, high),
        x_top=x_top,
        y_top=1.12 * y_top,
        legend=False,
    )
