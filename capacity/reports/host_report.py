"""The analysis of a host on paper as a person reads it: the answer, costs of a call, limits, loads, tiers, settings."""

from collections.abc import Callable, Iterator

from capacity.hosts.host_limits import CPU, PORTS, RAM, Limit, summary
from capacity.hosts.paper_host import Analysis, CallLoad, HostTier, ResourceUse, document
from capacity.hosts.paper_limits import amount, span_text
from capacity.hosts.profile import CallCost
from capacity.reports.output import Output
from capacity.reports.report import Report, ReportTable, Section, columns
from capacity.reports.terminal import show
from whisper_ops.formatting import counted

_KEYS = {
    "memory": "memory",
    "cpu": "CPU of one core",
    "descriptors": "descriptors",
    "ports": "ports",
    "tasks": "threads",
}
_NOTHING = "—"
_ORDER = ("binding", "possible", "not limiting")


def output(analysis: Analysis, configuration: Callable[[], str] | None = None) -> Output:
    """The analysis in its forms; `configuration` makes the one that was asked for."""
    return Output(
        schema="plan",
        body=lambda: document(analysis),
        show=lambda console: show(report(analysis), console),
        report=lambda: report(analysis),
        configuration=configuration,
    )


def report(analysis: Analysis) -> Report:
    """All of an analysis: costs of a call, limits, loads, tiers and the settings to raise."""
    name = analysis.profile.title
    answer, *more = summary(analysis.host)
    return Report(
        answer=f"{name}: {answer}" if name else answer,
        lines=(*more, *_waiting(analysis), *_fleet(analysis)),
        sections=tuple(_sections(analysis)),
        notes=analysis.notes,
    )


def _sections(analysis: Analysis) -> Iterator[Section]:
    yield _costs(analysis)
    yield _limits(analysis)
    if any(load.uses for load in analysis.loads):
        yield _loads(analysis)
    if analysis.tiers or analysis.current is not None:
        title = "Tiers as configured" if analysis.tiers != analysis.tiers_after_fixes else "Tiers"
        yield _tiers(title, analysis, analysis.tiers)
    if analysis.tiers_after_fixes and analysis.tiers_after_fixes != analysis.tiers:
        yield _tiers("Tiers with the settings raised", analysis, analysis.tiers_after_fixes)
    yield _settings(analysis)


def _waiting(analysis: Analysis) -> list[str]:
    waiting = analysis.waiting
    if waiting is None:
        return []
    low, high = waiting.duty.low * 100, waiting.duty.high * 100
    duty = f"{low:.3g} %" if low == high else f"{low:.3g} to {high:.3g} %"
    carried = f"{waiting.low:,}" if waiting.low == waiting.high else f"{waiting.low:,} to {waiting.high:,}"
    return [f"With waiting: where a call needs its processor time for {duty} of its length, the CPU carries {carried}."]


def _fleet(analysis: Analysis) -> list[str]:
    fleet = analysis.fleet
    if fleet is None:
        return ["Not one call fits on this machine, so no number of them carries the demand."] if analysis.asked else []
    after = analysis.host.after_fixes
    lost = f", of which {fleet.spare_machines:,} may be lost" if fleet.spare_machines else ""
    machines = counted(fleet.machines, "machine")
    limit = f" (90 % of what {after.name} allows)" if after is not None else ""
    each = f"at up to {fleet.per_machine:,} calls each{limit}"
    return [f"For {fleet.calls:,} concurrent calls: {machines} like this{lost}, {each}."]


def _costs(analysis: Analysis) -> Section:
    """What a call takes: a row a cause, a column a resource."""
    takes = analysis.profile.takes
    names = list(dict.fromkeys(cause.name for found in takes.values() for cause in found.causes if cause.name))
    rows = [(name, *(_caused(found, key, name) for key, found in takes.items())) for name in names]
    rows.append(("a call", *(span_text(found.total, key) for key, found in takes.items())))
    lines = ("The amount to plan with, and its range in the profile.",)
    return Section(
        heading="What one call takes",
        lines=lines if any(not found.total.is_exact for found in takes.values()) else (),
        table=ReportTable(columns("cause", *(_KEYS[key] for key in takes)), tuple(rows)),
    )


def _caused(takes: CallCost, key: str, name: str) -> str:
    return next((span_text(cause.takes, key) for cause in takes.causes if cause.name == name), _NOTHING)


def _limits(analysis: Analysis) -> Section:
    """A row a resource, and a sentence a verdict: what binds first, then what may, then what does not."""
    rows = tuple(
        (limit.name, limit.have, limit.each, _allows(limit), _range(limit), verdict.standing)
        for limit, verdict in zip(analysis.host.limits, analysis.verdicts, strict=True)
    )
    ordered = sorted(analysis.verdicts, key=lambda verdict: _ORDER.index(verdict.standing))
    return Section(
        heading="What the host allows",
        lines=tuple(f"{verdict.name}: {verdict.standing}: {verdict.why}." for verdict in ordered),
        table=ReportTable(
            columns(
                *("resource", "there is", "a call takes", "allows", "least to most", "verdict"),
                figures=("allows", "least to most"),
            ),
            rows,
        ),
    )


def _allows(limit: Limit) -> str:
    return _NOTHING if limit.allows is None else f"{limit.allows:,}"


def _range(limit: Limit) -> str:
    if limit.least is None or limit.most is None or limit.least == limit.most:
        return ""
    return f"{limit.least:,} to {limit.most:,}"


def _loads(analysis: Analysis) -> Section:
    names = [use.name for use in analysis.loads[0].uses]
    rows = tuple(
        (f"{load.connections:,}", *(_use(use) for use in load.uses), *_with_waiting(analysis, load), _result(load))
        for load in analysis.loads
    )
    waiting = ("CPU with waiting",) if analysis.waiting is not None else ()
    return Section(
        heading="Loads: what so many calls use and leave free",
        table=ReportTable(columns("calls", *names, *waiting, "result", figures=["calls"]), rows),
    )


def _use(use: ResourceUse) -> str:
    key, unit = {RAM: ("memory", ""), CPU: ("count", " cores")}.get(use.name, ("count", ""))
    rest = f"{amount(use.free, key)} free" if use.free >= 0 else f"{amount(-use.free, key)} short"
    return f"{amount(use.used.typical, key)}{unit} used, {rest}"


def _with_waiting(analysis: Analysis, load: CallLoad) -> tuple[str, ...]:
    cpu = next((use for use in load.uses if use.name == CPU), None)
    if analysis.waiting is None or cpu is None:
        return ()
    duty = analysis.waiting.duty
    return (f"{duty.low * cpu.used.typical:.3g} to {duty.high * cpu.used.typical:.3g} cores",)


def _result(load: CallLoad) -> str:
    after = f", with {' and '.join(load.settings)} raised" if load.settings else ""
    if not load.short:
        return f"fits{after}"
    if load.waiting:
        return f"{load.waiting} with waiting{after}"
    return f"too many for {', '.join(load.short)}"


def _tiers(title: str, analysis: Analysis, tiers: tuple[HostTier, ...]) -> Section:
    waiting = ("CPU with waiting",) if analysis.waiting is not None else ()
    shown = (*([analysis.current] if analysis.current else []), *tiers)
    rows = [_tier(analysis, tier) for tier in shown]
    titles = columns("tier", "calls", "cut", "CPU", *waiting, "RAM", "stability", figures=["calls"])
    return Section(heading=title, table=ReportTable(titles, tuple(rows)))


def _tier(analysis: Analysis, tier: HostTier) -> tuple[str, ...]:
    figures = (_cpu(tier), *_waits(analysis, tier), _ram(analysis, tier))
    return (tier.name, f"{tier.connections:,}", tier.cut, *figures, tier.stability)


def _cpu(tier: HostTier) -> str:
    if tier.cpu_cores is None:
        return _NOTHING
    share = "" if tier.cpu_ratio is None else f" ({tier.cpu_ratio:.0%})"
    return f"{tier.cpu_cores:.3g} cores{share}"


def _waits(analysis: Analysis, tier: HostTier) -> tuple[str, ...]:
    if analysis.waiting is None:
        return ()
    waits = tier.cpu_cores_waiting
    return (_NOTHING if waits is None else f"{waits.low:.3g} to {waits.high:.3g} cores",)


def _ram(analysis: Analysis, tier: HostTier) -> str:
    if tier.memory_bytes is None:
        return _NOTHING
    total, in_use = analysis.profile.memory_total, tier.memory_in_use_bytes
    calls = amount(tier.memory_bytes, "memory")
    return calls if total is None or in_use is None else f"{calls}; {in_use / 1e9:.3g} of {total / 1e9:.3g} GB in use"


def _settings(analysis: Analysis) -> Section:
    """The lines that this host needs, and what is enough as it is."""
    standing = {verdict.name: verdict.standing for verdict in analysis.verdicts}
    needed = [limit for limit in analysis.host.limits if limit.fix and standing[limit.name] != "not limiting"]
    enough = [
        f"{limit.name} {limit.there_is:,.0f}"
        for limit in analysis.host.limits
        if limit not in needed and limit.there_is is not None and (limit.configured or limit.name == PORTS)
    ]
    code: list[str] = []
    for limit in needed:
        code += ["", f"# {limit.name}", *limit.fix]
    lines = [f"For up to {analysis.reach:,} calls."] if needed else []
    if enough:
        lines.append(f"Enough as they are: {', '.join(enough)}.")
    return Section(
        heading="Settings to raise" if needed else "No setting has to be raised",
        lines=tuple(lines),
        code=tuple(code[1:]),
    )
