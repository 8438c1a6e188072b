"""Whose certificates are trusted when we are the client: the system's authorities, and one of the user's own.

Every connection of every command asks here, so that a private authority is named once: `--ca-file`, or
WHISPER_OPS_CA_FILE. The variable is also how the processes that a command starts learn of it.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from whisper_ops.errors import UserError

if TYPE_CHECKING:
    import ssl

VARIABLE = "WHISPER_OPS_CA_FILE"
_UNKNOWN_AUTHORITY = (18, 19, 20, 21)
"""OpenSSL's X509_V_ERR_*: signed by itself, by an unknown authority, by one that was not sent."""


def trust_file(path: Path) -> None:
    """Trust the authorities in a PEM file too, in this process and those that it starts.

    Raises:
        UserError: it cannot be read, or holds no certificate.
    """
    _context_with(str(path.absolute()))
    os.environ[VARIABLE] = str(path.absolute())


def client_context() -> "ssl.SSLContext":
    """The context of every TLS connection that we open.

    Raises:
        UserError: the file that the environment names cannot be used.
    """
    return _context_with(os.environ.get(VARIABLE) or None)


def http_context(url: str) -> "ssl.SSLContext":
    """The context of an HTTP client of one server; to a plain address, past no proxy, one without authorities.

    Raises:
        UserError: the file that the environment names cannot be used.
    """
    # A client without one makes its own. The authorities are a tenth of what `dash --once` costs, and go unread there.
    through_proxy = any(name.lower().endswith("_proxy") and value for name, value in os.environ.items())
    plain = urlsplit(url).scheme == "http" and not through_proxy and not os.environ.get(VARIABLE)
    return _trusting_nobody() if plain else client_context()


@cache
def _trusting_nobody() -> "ssl.SSLContext":
    import ssl  # noqa: PLC0415  # as below

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def context_for(url: str) -> "ssl.SSLContext | None":
    """The context for a WebSocket's address; None where it is plain `ws`."""
    return client_context() if urlsplit(url).scheme in ("wss", "https") else None


@cache
def _context_with(path: str | None) -> "ssl.SSLContext":
    import ssl  # noqa: PLC0415  # options name this module, and most commands connect to nothing

    # Loading the authorities takes 20 ms and some MB: once, not once a server.
    made = ssl.create_default_context()
    if path is not None:
        if Path(path).exists() and not Path(path).is_file():  # OpenSSL waits forever for a pipe
            raise UserError(f"cannot read the CA file {path}: it is a folder, a pipe or a device")
        try:
            made.load_verify_locations(path)
        except ssl.SSLError as error:  # which is an OSError as well
            raise UserError(f"the CA file {path} holds no certificate in PEM form") from error
        except OSError as error:
            raise UserError(f"cannot read the CA file {path}: {error.strerror or error}") from error
    return made


def untrusted(where: str, error: BaseException) -> str | None:
    """What to say when an error comes from an untrusted certificate; None when it does not."""
    import ssl  # noqa: PLC0415  # as above

    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = "; if its authority is your own, name it with --ca-file"
            unknown = cause.verify_code in _UNKNOWN_AUTHORITY
            return f"TLS: the certificate of {where} is not trusted: {cause.verify_message}{advice if unknown else ''}"
    return None


def maybe_tls(url: str) -> str:
    """What to add of an `http` address where something answered that was no HTTP: a TLS port just hangs up."""
    return f"; if it speaks TLS, say https:{url.removeprefix('http:')}" if url.startswith("http:") else ""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it came from; inner ones last, as httpx and anyio wrap what the system said."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from causes(part)
        error = error.__cause__ or error.__context__
