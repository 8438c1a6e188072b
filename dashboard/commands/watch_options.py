"""Options of the commands that watch servers: which ones, how often, with which token."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from whisper_ops.cli.options import ca_option, token_option
from whisper_ops.units import Length

F = TypeVar("F", bound=Callable[..., Any])


def watch_options(function: F) -> F:
    """`URL…`, `--hosts`, `--config`, `--interval`, `--token-file`: what `dashboard.config.load` takes."""
    for option in (
        click.option(
            "--interval",
            type=Length(0.1, 86_400),
            help="From poll to poll.  [default: 1, or [poll] of whisper-ops.toml]",
        ),
        ca_option,
        token_option,
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Servers and settings.  [default: whisper-ops.toml when it is there]",
        ),
        click.option(
            "--hosts",
            type=click.Path(path_type=Path, dir_okay=False),
            multiple=True,
            help="A file with one server a line.",
        ),
        click.argument("servers", nargs=-1, metavar="[[NAME=][KIND+]URL]..."),
    ):
        function = option(function)
    return function
