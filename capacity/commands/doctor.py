"""`whisper-ops doctor`: what this machine's limits allow, and the lines that change them."""

from pathlib import Path

import click

from whisper_ops.cli.option_rules import Excludes, Needs, combinations
from whisper_ops.cli.options import json_option
from whisper_ops.errors import Exit, UserError
from whisper_ops.snapshot import HostFigures
from whisper_ops.units import Length


@click.command()
@click.option(
    "--want",
    type=click.IntRange(min=1),
    metavar="N",
    help="Check that the system lets N connections in; exit code 1 if not.",
)
@click.option(
    "--chunk", type=Length(least_open=True), default="100ms", show_default=True, help="Length of a client's frame."
)
@click.option("--proxy", is_flag=True, help="A proxy on this machine stands before the server: twice the descriptors.")
@click.option("--server", help="Look at the machine of a server in the history instead of this one.")
@click.option(
    "--history",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("history.db"),
    envvar="WHISPER_OPS_HISTORY",
    show_default=True,
    help="The history that --server is looked up in.",
)
@click.option("--profile", is_flag=True, help="Print this host as a profile for `plan --host-profile` instead.")
@json_option
@combinations(
    Needs("history", ("server",)),
    Excludes("profile", ("want", "as_json"), "it prints the host, and no verdict"),
)
def command(  # an argument an option, as click calls it
    want: int | None, chunk: float, *, proxy: bool, server: str | None, history: Path, profile: bool, as_json: bool
) -> int:
    """Read the limits of this host, say what each allows, which binds first, and the exact lines to change it.

    Run it again after changing something, with --want N, to check: exit code 0 says that the system lets N
    connections in. How many the model keeps up with is what `plan` says.
    """
    from capacity.hosts.accelerator import read_accelerator
    from capacity.hosts.host_limits import missed
    from capacity.hosts.local_host import HostUse, limits_of
    from capacity.hosts.profile_writer import written
    from capacity.reports.doctor_report import output
    from capacity.reports.output import form_of
    from whisper_ops.telemetry.host import established_connections, file_max, machine_cores
    from whisper_ops.telemetry.host_meter import HostMeter, machine

    figures = machine(HostMeter()) if server is None else _reported(history, server)
    use = HostUse(chunk_seconds=chunk, proxied=proxy)
    here = {"file_max": file_max(), "established": established_connections()} if profile and server is None else {}
    host = limits_of(figures, use, machine_cores() if server is None else None)
    found = output(
        host,
        figures,
        read_accelerator() if server is None and not profile else None,
        want,
        configuration=lambda: written(figures, use, **here),
    )
    found.print(form_of(as_json=as_json, configuration=profile))
    return Exit.NO if want is not None and missed(host, want) else Exit.GOOD


def _reported(history: Path, server: str) -> HostFigures:
    """What a server's last poll said about its machine."""
    from capacity.planner.caps import last_host
    from whisper_ops.history import History

    with History.reading(history) as opened:
        found = last_host(opened, server)
        known = ", ".join(sorted(opened.polls.servers())) or "none"
    if found is None:
        raise UserError(
            f"{history} holds no poll of a server named {server} with figures of its machine; its servers: {known}",
            Exit.EVIDENCE,
        )
    return found
