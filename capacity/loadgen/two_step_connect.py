"""The first of two steps: ask `/connect` where to go, past a balancer that holds up WebSocket upgrades."""

import json
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit, urlunsplit

from whisper_ops import tls_trust

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_SECURE = {"https", "wss"}
_LONGEST = 2048
_MOST_BYTES = 64 << 10


class ServerFullError(ConnectionError):
    """Every server that `/connect` knows is full."""


class NoTokenError(ConnectionError):
    """`/connect` wants another token, or one at all."""


class ConnectAnswer(NamedTuple):
    """What `/connect` answered."""

    url: str
    """The socket's address, with the ticket."""
    is_same_host: bool
    """Whether it is the host that was asked. Only that one is told our token; elsewhere the ticket stands for it."""


async def ask_connect(url: str, headers: dict[str, str], seconds: float) -> ConnectAnswer:
    """Ask `/connect` at `url` where to go, within `seconds`.

    Raises:
        ServerFullError: there is no room.
        NoTokenError: it does not take the token, or wants one.
        ConnectionError: it answered something else; the message says what.
    """
    import httpx  # noqa: PLC0415  # only this kind of client needs them, and every process pays for imports

    from whisper_ops.http_answers import fetch  # noqa: PLC0415  # httpx, which a level without /connect does not load

    try:
        async with httpx.AsyncClient(
            headers=headers, timeout=seconds, trust_env=False, verify=tls_trust.client_context()
        ) as http:
            answer = await fetch(http, "GET", url, limit=_MOST_BYTES, seconds=seconds)
        if answer.status in (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS):
            raise ServerFullError(f"/connect answered HTTP {answer.status}: no room")
        if answer.status == httpx.codes.UNAUTHORIZED:
            raise NoTokenError("/connect answered HTTP 401")
        if answer.status != httpx.codes.OK:
            raise ConnectionError(f"/connect answered HTTP {answer.status}")
        body = json.loads(answer.body)
        return parse_answer(url, body["ws_url"], body.get("ticket"))
    except httpx.HTTPError as error:
        raise ConnectionError(f"/connect: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConnectionError("/connect answered without the address of a WebSocket (ws_url)") from error


def parse_answer(asked: str, ws_url: str, ticket: str | None) -> ConnectAnswer:
    """Read what `/connect` at `asked` answered.

    Raises:
        ValueError: its address is none of a WebSocket.
    """
    parts = urlsplit(ws_url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname or not ws_url.isprintable() or len(ws_url) > _LONGEST:
        raise ValueError("no address of a WebSocket")
    if ticket is not None and "ticket" not in parse_qs(parts.query):  # as servers before it was in the address
        parts = parts._replace(query="&".join(filter(None, [parts.query, urlencode({"ticket": ticket})])))
    return ConnectAnswer(urlunsplit(parts), _host(parts) == _host(urlsplit(asked)))


def _host(parts: SplitResult) -> tuple[bool, str | None, int]:
    """What is the same of two addresses of one server: encryption, host and port."""
    return parts.scheme in _SECURE, parts.hostname, parts.port or _PORTS[parts.scheme]
