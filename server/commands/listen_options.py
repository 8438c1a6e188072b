"""Options of what listens: a server and a broker are spelled, checked and explained alike."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from whisper_ops.bearer_tokens import read_token
from whisper_ops.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
_PORT = 8000

_OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option(
        "--port", type=click.IntRange(0, 65535), help="0: any free one.  [default: PORT of the environment, else 8000]"
    ),
    click.option("--tls-cert", type=_FILE, help="Serve https and wss with this certificate and its chain (PEM)."),
    click.option("--tls-key", type=_FILE, help="Private key (PEM), where the file of --tls-cert does not hold it."),
    click.option(
        "--allow-origin",
        multiple=True,
        metavar="ORIGIN",
        help="Origin of web pages that may use it, as https://app.example; repeatable.",
    ),
    click.option(
        "--token-file", type=_FILE, help="File with the token that clients must send; else WHISPER_OPS_TOKEN."
    ),
    click.option("--admin-token-file", type=_FILE, help="The token of admin calls; else WHISPER_OPS_ADMIN_TOKEN."),
    click.option("--insecure", is_flag=True, help="Allow other than loopback addresses without a token."),
)


def serving_options(function: F) -> F:
    """Where to listen, and who may ask."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def own_port(given: int | None) -> int:
    """The port of the command line, else of the environment's PORT.

    Raises:
        UserError: the environment's is none.
    """
    text = os.environ.get("PORT", "").strip()
    if given is not None or not text:
        return _PORT if given is None else given
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise UserError(f"PORT in the environment is {text!r}, which is not a port from 0 to 65535; use --port")
    return int(text)


def certificate(options: dict[str, Any]) -> Path | None:
    """The file of `--tls-cert`.

    Raises:
        UserError: there is a key and no certificate.
    """
    if options["tls_key"] is not None and options["tls_cert"] is None:
        raise UserError(f"--tls-key {options['tls_key']} goes with --tls-cert, the certificate of that key")
    path: Path | None = options["tls_cert"]
    return path


def own_token(options: dict[str, Any]) -> str | None:
    """The token that clients must bear.

    Raises:
        UserError: there is none, and others than this machine could ask.
    """
    from server.settings import is_loopback

    token = read_token(options["token_file"])
    if token is None and not options["insecure"] and not is_loopback(options["host"]):
        raise UserError(
            f"--host {options['host']} can be reached from outside and no token is set; "
            "give --token-file, or --insecure if that is intended"
        )
    return token


def origins(options: dict[str, Any]) -> tuple[str, ...]:
    """Pages that may ask.

    Raises:
        UserError: one of them is no origin.
    """
    return tuple(_origin(text) for text in options["allow_origin"])


def _origin(text: str) -> str:
    from server.settings import checked_origin

    try:
        return checked_origin(text)
    except ValueError as error:
        raise UserError(f"--allow-origin {text!r} is not an origin ({error}), as https://app.example is") from error
