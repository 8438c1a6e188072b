"""Options that several commands share, so that they are spelled, read from the environment and explained alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from whisper_ops import tls_trust
from whisper_ops.user_files import check_database

F = TypeVar("F", bound=Callable[..., Any])

MARKS: dict[str, Literal[".", ","]] = {"point": ".", "comma": ","}
DEFAULT_HISTORY = Path("history.db")


def _no_pipe(_context: click.Context, _option: click.Parameter, path: Path) -> Path:
    check_database(path)
    return path


def history_option(function: F) -> F:
    """`--history PATH`, WHISPER_OPS_HISTORY, else history.db in the working directory."""
    return click.option(
        "--history",
        type=click.Path(path_type=Path, dir_okay=False),
        default=DEFAULT_HISTORY,
        envvar="WHISPER_OPS_HISTORY",
        show_default=True,
        show_envvar=True,
        callback=_no_pipe,
        help="The history file; created on first use.",
    )(function)


def json_option(function: F) -> F:
    """`--json`: versioned JSON on stdout instead of a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print versioned JSON instead of a table.")(function)


def _trust(_context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is not None:
        tls_trust.trust_file(path)


def ca_option(function: F) -> F:
    """`--ca-file PATH`, else WHISPER_OPS_CA_FILE; nothing is handed on, as `whisper_ops.tls_trust` remembers it."""
    return click.option(
        "--ca-file",
        type=click.Path(path_type=Path),
        envvar=tls_trust.VARIABLE,
        show_envvar=True,
        expose_value=False,
        callback=_trust,
        help="Trust the certificates of these authorities too (PEM).",
    )(function)


def decimal_option(function: F) -> F:
    """`--decimal point|comma`: for a table whose cells do not tell."""
    return click.option(
        "--decimal", type=click.Choice(list(MARKS)), help="Decimal mark of the table, where its cells do not show it."
    )(function)


def token_option(function: F) -> F:
    """`--token-file PATH`, else WHISPER_OPS_TOKEN: never on the command line, where other users could read it."""
    return click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File with the bearer token; else WHISPER_OPS_TOKEN.",
    )(function)
