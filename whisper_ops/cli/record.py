"""`whisper-ops record`: the history grows without a screen, as a service does it."""

import asyncio
from pathlib import Path

import click

from whisper_ops.cli.options import history_option
from whisper_ops.cli.watching import watch_options
from whisper_ops.secrets import read_token


@click.command()
@watch_options
@history_option
@click.option("--duration", type=click.FloatRange(min=0), help="Stop after so many seconds.  [default: never]")
def command(
    servers: tuple[str, ...],
    hosts: tuple[Path, ...],
    config: Path | None,
    token_file: Path | None,
    interval: float | None,
    history: Path,
    duration: float | None,
) -> int:
    """Poll servers into the history without a screen, until SIGTERM, Ctrl-C or the end of --duration.

    A server is an address like http://asr-1:8000. Other kinds have a prefix: node+http://host:9100 (node exporter),
    dcgm+, vllm+, whisperlive+, whisperlivekit+, `local` for this machine; dns+http://asr.example:8000 polls every
    address behind a name. Each change is said once on stderr. Under systemd it notifies and feeds the watchdog.

    Exit codes: 3 when no poll at all was answered, 2 when another process writes this history.
    """
    from dashboard.recorder import Recorder
    from dashboard.settings import load

    watch = load(servers, hosts=hosts, config=config, interval=interval, token=read_token(token_file))
    recorder = Recorder(watch, history, lambda sentence: click.echo(sentence, err=True))
    return asyncio.run(recorder.run(duration))
