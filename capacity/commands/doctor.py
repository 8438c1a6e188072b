"""`whisper-ops doctor`: what this machine's limits allow, and the lines that change them."""

from pathlib import Path

import click

from whisper_ops import console
from whisper_ops.cli.option_rules import Excludes, Needs, combinations
from whisper_ops.cli.options import json_option
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
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
    import msgspec

    from capacity.hosts.accelerator import read_accelerator
    from capacity.hosts.host_limits import missed
    from capacity.hosts.local_host import HostUse, limits_of
    from capacity.hosts.profile_writer import written
    from capacity.reports.host_terminal import show
    from whisper_ops.telemetry.host import established_connections, file_max, machine_cores
    from whisper_ops.telemetry.host_meter import HostMeter, machine

    figures = machine(HostMeter()) if server is None else _reported(history, server)
    use = HostUse(chunk_seconds=chunk, proxied=proxy)
    if profile:
        here = {"file_max": file_max(), "established": established_connections()} if server is None else {}
        console.data().out(written(figures, use, **here), end="", highlight=False)
        return Exit.GOOD
    host = limits_of(figures, use, machine_cores() if server is None else None)
    accelerator = read_accelerator() if server is None else None
    short = [] if want is None else missed(host, want)
    if as_json:
        body = {
            "host": msgspec.to_builtins(figures),
            "limits": msgspec.to_builtins(host.limits),
            "first": None if host.first is None else host.first.name,
            "accelerator": msgspec.to_builtins(accelerator),
            "wanted": want,
            "short": [limit.name for limit in short],
        }
        console.print_json("doctor", body)
    else:
        if want is not None:
            names = ", ".join(f"{limit.name} ({limit.allows:,})" for limit in short)
            console.data().print(f"{_verdict(want, names)}\n", soft_wrap=not console.data().is_terminal)
        show(host, console.data())
        for line in () if accelerator is None else accelerator.advice:
            console.data().print(f"note: {line}", soft_wrap=True, markup=False)
    return Exit.NO if short else Exit.GOOD


def _verdict(want: int, short: str) -> str:
    """What --want is answered with. Whether the model keeps up is another question, and the one that mostly binds."""
    connections = counted(want, "connection")
    if short:
        return f"The operating system does not let {connections} in: {short}."
    return f"The operating system lets {connections} in; how many the model keeps up with: whisper-ops plan"


def _reported(history: Path, server: str) -> HostFigures:
    """What a server's last poll said about its machine."""
    from capacity.planner.caps import last_host
    from whisper_ops.history import History

    with History.reading(history) as opened:
        found = last_host(opened, server)
        known = ", ".join(sorted(opened.polls.servers())) or "none"
    if found is None:
        raise UserError(
            f"{history} holds no poll of a server named {server} that told about its machine; it knows {known}",
            Exit.EVIDENCE,
        )
    return found
