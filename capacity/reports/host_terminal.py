"""A host's limits as a person reads them."""

from rich.console import Console
from rich.table import Table

from capacity.hosts.host_limits import HostLimits, Limit, summary
from whisper_ops.plan.plan_document import Tier


def show(host: HostLimits, console: Console) -> None:
    """Print what limits first, the table of every limit, tiers and the lines that raise what can be raised."""
    for line in summary(host):
        console.print(line, soft_wrap=not console.is_terminal, markup=False)
    console.print()
    console.print(_table(host))
    console.print()
    for title, tiers in (("as configured", host.tiers_now()), ("with the settings raised", host.tiers_after())):
        if tiers and (title == "as configured" or tiers != host.tiers_now()):
            console.print(f"tiers {title}: {_tiers(tiers)}", soft_wrap=not console.is_terminal, markup=False)
    raised = [limit for limit in host.limits if limit.fix]
    for limit in raised:
        console.print(f"\nto raise {limit.name}:", markup=False)
        for line in limit.fix:
            console.print(f"  {line}", soft_wrap=not console.is_terminal, markup=False)
    for note in host.notes:
        console.print(f"note: {note}", soft_wrap=not console.is_terminal, markup=False)


def _table(host: HostLimits) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("resource", "there is", "a connection takes"):
        table.add_column(name)
    table.add_column("allows", justify="right")
    table.add_column("")
    for limit in host.limits:
        table.add_row(limit.name, limit.have, limit.each, _allows(limit), _mark(limit, host))
    return table


def _allows(limit: Limit) -> str:
    return "—" if limit.allows is None else f"{limit.allows:,}"


def _mark(limit: Limit, host: HostLimits) -> str:
    if limit is host.first:
        return "◀ binds first"
    return limit.note


def _tiers(tiers: tuple[Tier, ...]) -> str:
    return " · ".join(f"{tier.name} {tier.connections:,} ({tier.cut})" for tier in tiers)
