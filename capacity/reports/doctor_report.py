"""What a host allows: the answer to `--want`, what binds first, every limit, tiers, and the settings to raise."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from capacity.hosts.accelerator import Accelerator
from capacity.hosts.host_limits import HostLimits, Limit, missed, summary
from capacity.reports.output import Output
from capacity.reports.report import Report, ReportTable, Section, columns
from capacity.reports.terminal import show
from whisper_ops.formatting import counted
from whisper_ops.plan.plan_document import Tier
from whisper_ops.snapshot import HostFigures


def output(
    host: HostLimits,
    figures: HostFigures,
    accelerator: Accelerator | None,
    wanted: int | None,
    configuration: Callable[[], str],
) -> Output:
    """A host's limits in their forms.

    Args:
        host: the limits.
        figures: what was read of the host.
        accelerator: what was read of its accelerators; None: not asked, as for the host of another server.
        wanted: connections that it is to let in; None: not asked.
        configuration: writes the host as a profile for `plan --host-profile`.
    """
    short = [] if wanted is None else missed(host, wanted)

    def body() -> dict[str, Any]:
        return {
            "host": msgspec.to_builtins(figures),
            "limits": msgspec.to_builtins(host.limits),
            "first": None if host.first is None else host.first.name,
            "accelerator": msgspec.to_builtins(accelerator),
            "wanted": wanted,
            "short": [limit.name for limit in short],
        }

    asked = [] if wanted is None else [_verdict(wanted, short)]
    advice = () if accelerator is None else accelerator.advice
    return Output(
        schema="doctor",
        body=body,
        show=lambda console: show(report(host, asked=asked, advice=advice), console),
        configuration=configuration,
    )


def report(host: HostLimits, *, asked: Sequence[str], advice: Sequence[str]) -> Report:
    """A host's limits; what was asked is answered first, and advice stands among the notes."""
    answer, *lines = (*asked, *summary(host))
    return Report(answer=answer, lines=tuple(lines), sections=tuple(_sections(host)), notes=(*host.notes, *advice))


def _verdict(wanted: int, short: Sequence[Limit]) -> str:
    """What --want is answered with. Whether the model keeps up is another question, and the one that mostly binds."""
    connections = counted(wanted, "connection")
    if short:
        names = ", ".join(f"{limit.name} ({limit.allows:,})" for limit in short)
        return f"The operating system does not let {connections} in: {names}."
    return f"The operating system lets {connections} in; how many the model keeps up with: whisper-ops plan"


def _sections(host: HostLimits) -> Iterator[Section]:
    binds = next((k for k, limit in enumerate(host.limits) if limit is host.first), None)
    rows = tuple((limit.name, limit.have, limit.each, _allows(limit), limit.note) for limit in host.limits)
    titles = columns("resource", "there is", "a connection takes", "allows", "", figures=["allows"])
    yield Section(table=ReportTable(titles, rows, binds))
    now, raised = host.tiers_now(), host.tiers_after()
    lines = [f"tiers as configured: {_tiers(now)}"] if now else []
    if raised and raised != now:
        lines.append(f"tiers with the settings raised: {_tiers(raised)}")
    if lines:
        yield Section(lines=tuple(lines))
    for limit in host.limits:
        if limit.fix:
            yield Section(heading=f"to raise {limit.name}:", code=limit.fix)


def _allows(limit: Limit) -> str:
    return "—" if limit.allows is None else f"{limit.allows:,}"


def _tiers(tiers: Sequence[Tier]) -> str:
    return " · ".join(f"{tier.name} {tier.connections:,} ({tier.cut})" for tier in tiers)
