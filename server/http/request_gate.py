"""Access checks before every request: its Host, its page's origin, its token. Plain ASGI: it costs a stream nothing.

A browser runs any page on the machine of a visitor who may reach this server. So pages may use it only from its own
origin and from those of `--allow-origin`. On loopback without a token, where only the address keeps others out, the
Host must be this server: a page elsewhere may point its own name at 127.0.0.1 (DNS rebinding).
"""

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from server.auth import OPEN_PATHS, matches, presented, subprotocol
from server.http.page import PARTS, StaticPage
from server.settings import is_loopback
from whisper_ops import wire

log = logging.getLogger("whisper_ops.server")

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SHOWN = 100
"""Characters of a page's own words that are logged and answered."""


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: int
    message: str


class AccessRules(Protocol):
    """Who may call a program; `server.settings.Settings` and the broker's are such."""

    @property
    def token(self) -> str | None:
        """Needed for everything but admin calls; None: none is."""

    @property
    def admin_token(self) -> str | None:
        """Needed for admin calls; None: they are refused."""

    @property
    def host(self) -> str:
        """The address to listen on."""

    @property
    def public_url(self) -> str | None:
        """Where clients reach it; its host is one of its names."""

    @property
    def allow_origins(self) -> tuple[str, ...]:
        """Of pages that may use it."""


def add_gate(
    app: Starlette, settings: AccessRules, is_ticket: Callable[[str | None], bool], pages: Mapping[str, StaticPage]
) -> None:
    """Put the gate before an application, and CORS before the gate where other origins may ask."""
    app.add_middleware(RequestGate, settings=settings, is_ticket=is_ticket, pages=pages)
    if settings.allow_origins:
        # Outermost: a browser asks whether it may ask before it shows its token.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", "content-type"],
        )


class RequestGate:
    """`is_ticket`: whether a ticket of `/connect` is good. `pages`: those that there are, by path."""

    def __init__(
        self,
        app: ASGIApp,
        settings: AccessRules,
        is_ticket: Callable[[str | None], bool],
        pages: Mapping[str, StaticPage],
    ) -> None:
        self._app, self._is_ticket, self._pages = app, is_ticket, pages
        self._token, self._admin_token = settings.token, settings.admin_token
        self._origins = frozenset(settings.allow_origins)
        self._hosts: frozenset[str] | None = None
        """Names that a Host may have; None: any."""
        if settings.token is None and is_loopback(settings.host):
            places = [*settings.allow_origins, settings.public_url or ""]
            named = {host.lower() for place in places if (host := urlsplit(place).hostname)}
            self._hosts = frozenset({settings.host.lower(), *named})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] in ("http", "websocket") and (refusal := self._refusal(scope)) is not None:
            if scope["type"] == "http":
                await _refuse_http(scope, send, refusal, self._pages.get(scope["path"]))
            else:
                await _refuse_websocket(scope, receive, send, refusal)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        if scope["path"] in OPEN_PATHS:
            return None
        headers = Headers(scope=scope)
        return (
            self._host_refusal(scope, headers)
            or self._origin_refusal(scope, headers)
            or self._token_refusal(scope, headers)
        )

    def _host_refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) > 1:
            return _logged_refusal(scope, 400, "a request has one Host header")
        if self._hosts is None or not hosts:  # no browser leaves it out
            return None
        host = hosts[0]
        name = _split(f"//{host}").hostname
        ours = scope["server"][0] if scope.get("server") else None
        if name is not None and (name in self._hosts or name == ours or _is_here(name)):
            return None
        return _logged_refusal(
            scope,
            403,
            f"Host {host[:_SHOWN]!r} is not this server; allow that name with --allow-origin, or set a token",
        )

    def _origin_refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        origin = headers.get("origin")
        if origin is not None:
            if "*" in self._origins or origin.lower() in self._origins or _is_own(origin, headers.get("host", "")):
                return None
            # A ticket was given to a page that may use us: it may come back to our direct address, by another name.
            if scope["type"] == "websocket" and self._is_ticket(QueryParams(scope["query_string"]).get("ticket")):
                return None
            return _logged_refusal(
                scope, 403, f"pages of {origin[:_SHOWN]!r} may not use this server; allow them with --allow-origin"
            )
        # Without an Origin a browser sends at least whether the page is ours. Links to us may be followed.
        site = headers.get("sec-fetch-site", "none")
        follows_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if site in ("none", "same-origin") or (follows_link and scope["path"] != "/connect"):
            return None
        return _logged_refusal(
            scope, 403, "pages of other sites may not use this server; allow them with --allow-origin"
        )

    def _token_refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        if self._token is None or scope["path"] in PARTS:
            return None
        query = QueryParams(scope["query_string"])
        given = presented(headers, query, scope.get("subprotocols", []))
        # The admin token opens its own calls; they check it themselves.
        for_others = query.get("debug") == "1" or scope.get("method") == "POST"
        asks_admin = scope["path"] == "/connect" and for_others and matches(self._admin_token, given)
        if scope["path"].startswith("/admin/") or asks_admin or matches(self._token, given):
            return None
        # A ticket was given to a client that had the token, and is good for one connection.
        if scope["type"] == "websocket" and self._is_ticket(query.get("ticket")):
            return None
        return Refusal(401, "this server needs a token")


def _logged_refusal(scope: Scope, status: int, message: str) -> Refusal:
    log.info("Refused a request for %s: %s", scope["path"][:_SHOWN], message)
    return Refusal(status, message)


def _split(url: str) -> SplitResult:
    """Taken apart; of what is no address, nothing."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return urlsplit("")
    return parts


def _is_here(name: str) -> bool:
    """Whether a name can only mean this machine."""
    return name.endswith(".localhost") or is_loopback(name.removesuffix("."))


def _is_own(origin: str, host: str) -> bool:
    """Whether a page's origin is the host that it asks; who encrypts, we or a proxy before us, does not matter."""
    page, asked = _split(origin), _split(f"//{host}")
    usual = _PORTS.get(page.scheme)
    return (
        usual is not None
        and page.hostname is not None
        and (page.hostname, page.port or usual) == (asked.hostname, asked.port or usual)
    )


async def _refuse_http(scope: Scope, send: Send, refusal: Refusal, page: StaticPage | None) -> None:
    headers = [(b"content-type", b"application/json"), (b"vary", b"Origin")]
    body = wire.encode({"error": refusal.message})
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
        if page is not None and "text/html" in Headers(scope=scope).get("accept", ""):
            # For a browser: the page itself is public, and asks for the token.
            headers = [*page.headers, *headers[1:]]
            body = page.body
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    await receive()
    if refusal.status == 401:
        # Accepted first: a browser shows the reason only of a close that follows an upgrade.
        await send({"type": "websocket.accept", "subprotocol": subprotocol(scope.get("subprotocols", []))})
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.message})
    else:
        # A page that may not use us learns nothing, not even that.
        await send({"type": "websocket.close"})
