"""`whisper-ops record`: the history grows without a screen, as a service does it."""

import asyncio
import sys
from pathlib import Path
from typing import TypedDict, Unpack

import click

from dashboard.commands.watch_options import watch_options
from whisper_ops.bearer_tokens import read_token
from whisper_ops.cli.options import history_option
from whisper_ops.formatting import counted
from whisper_ops.line_writer import LineWriter
from whisper_ops.units import Length
from whisper_ops.untrusted_text import one_line


class RecordOptions(TypedDict):
    """What may be said besides the servers and the history."""

    hosts: tuple[Path, ...]
    config: Path | None
    token_file: Path | None
    interval: float | None
    alerts: Path | None
    webhook: str | None
    on_alert: str | None
    duration: float | None


@click.command()
@watch_options
@history_option
@click.option(
    "--alerts",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file of alert rules, read on top of the shipped ones.",
)
@click.option(
    "--webhook",
    envvar="WHISPER_OPS_WEBHOOK",
    show_envvar=True,
    metavar="URL",
    help="Post each alert there as JSON when it begins and when it ends.",
)
@click.option("--on-alert", metavar="COMMAND", help="Run this for each alert; it gets the JSON on standard input.")
@click.option("--duration", type=Length(), help="Stop after so long, such as 90s or 8h.  [default: never]")
def command(servers: tuple[str, ...], history: Path, **options: Unpack[RecordOptions]) -> int:
    """Poll servers into the history without a screen, until SIGTERM, Ctrl-C or the end of --duration.

    A server is an address like http://asr-1:8000. Other kinds have a prefix: node+http://host:9100 (node exporter),
    dcgm+, nginx+, vllm+, moshi+, whisperlive+, whisperlivekit+, whisperlivekit-metrics+, `local` for this machine;
    dns+http://asr.example:8000 polls every address behind a name. Each change is said once on stderr. Under systemd it
    notifies and feeds the watchdog.

    Exit codes: 3 when no poll at all was answered, 2 when another process writes this history, 1 when rows could not be
    written to the end, or nothing writes any more (which is an alert too).
    """
    from dashboard.config import load
    from dashboard.monitoring.recorder import Recorder

    watch = load(
        servers,
        hosts=options["hosts"],
        config=options["config"],
        interval=options["interval"],
        alerts=options["alerts"],
        token=read_token(options["token_file"]),
    )
    # A terminal that was closed, or a pipe that nobody reads, is no reason to stop recording.
    lines = LineWriter(sys.stderr.fileno(), lambda count: f"{counted(count, 'line')} dropped, as nobody read in time")
    try:
        recorder = Recorder(
            watch,
            history,
            lambda sentence: lines.put(one_line(sentence)),
            webhook=options["webhook"],
            on_alert=options["on_alert"],
        )
        return asyncio.run(recorder.run(options["duration"]))
    finally:
        lines.close()
