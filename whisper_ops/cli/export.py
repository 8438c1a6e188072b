"""`whisper-ops export`: the history's rows for spreadsheets and other programs."""

import sys
from pathlib import Path
from typing import Literal

import click

from whisper_ops.cli.options import history_option
from whisper_ops.cli.time_options import TimeType
from whisper_ops.console import say
from whisper_ops.errors import Exit
from whisper_ops.formatting import counted


@click.command()
@click.argument("table", default="server_sample")
@history_option
@click.option(
    "--format", "kind", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True, help="CSV or JSON lines."
)
@click.option("--since", type=TimeType(), help="Rows from this time on: 2h, 2026-11-20 14:00, or epoch seconds.")
@click.option("--until", type=TimeType(), help="Rows before this time.")
@click.option("--server", help="Rows of this server only.")
def command(
    table: str,
    history: Path,
    kind: Literal["csv", "jsonl"],
    since: float | None,
    until: float | None,
    server: str | None,
) -> int:
    """Print the rows of TABLE as CSV or JSON lines.

    Tables: server_sample, gpu_sample, host_sample and their rollups (server_minute, gpu_hour, …), the identities,
    sweep, level, stream, plan, event, alert. docs/history.md explains every column.
    """
    from whisper_ops.history import History
    from whisper_ops.history.row_export import rows, write

    with History.reading(history) as opened:
        count = write(rows(opened, table, since=since, until=until, server=server), sys.stdout, kind)
    say(f"{counted(count, 'row')} of {table}")
    return Exit.GOOD
