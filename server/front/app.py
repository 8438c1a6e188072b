"""The application: HTTP endpoints, WebSockets and the tasks behind them, put together around one hub."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers, QueryParams
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from server.devices import Device
from server.front import admin, endpoints, files
from server.front.auth import allowed, presented, subprotocol
from server.front.departures import Departures
from server.front.hub import Hub
from server.front.ws.base import Conversation
from server.front.ws.livekit import LiveKitConnection
from server.front.ws.native import NativeConnection
from server.front.ws.realtime import RealtimeConnection
from server.front.ws.whisperlive import WhisperLiveConnection
from server.settings import Settings
from server.telemetry.views import Views
from whisper_ops import __version__, wire

log = logging.getLogger("whisper_ops.server")


class TokenGate:
    """Lets requests through that bear the token. Plain ASGI: it costs a live stream nothing."""

    def __init__(self, app: ASGIApp, token: str | None, is_ticket: Callable[[str | None], bool]) -> None:
        self._app, self._token, self._is_ticket = app, token, is_ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] in ("http", "websocket") and not self._passes(scope):
            await (_refuse_http(send) if scope["type"] == "http" else _refuse_websocket(scope, receive, send))
            return
        await self._app(scope, receive, send)

    def _passes(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        query = QueryParams(scope["query_string"])
        given = presented(Headers(scope=scope), query, scope.get("subprotocols", []))
        # A ticket was given to somebody who bore the token, and is good for one connection.
        if scope["type"] == "websocket" and self._is_ticket(query.get("ticket")):
            return True
        # The admin token opens its own calls; they check it themselves.
        return scope["path"].startswith("/admin/") or allowed(scope["path"], self._token, given)


DIALECTS: dict[str, type[Conversation]] = {
    "/ws": NativeConnection,
    "/asr": LiveKitConnection,
    "/v1/realtime": RealtimeConnection,
    "/": WhisperLiveConnection,
}
"""Where each protocol is spoken."""


def _endpoint(hub: Hub, dialect: type[Conversation]) -> Callable[[WebSocket], Awaitable[None]]:
    async def serve(socket: WebSocket) -> None:
        await dialect(hub, socket).run()

    return serve


async def _refuse_http(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": wire.encode({"error": "this server needs a token"})})


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    # Accepted first: a browser shows the reason only of a close that follows an upgrade.
    await receive()
    await send({"type": "websocket.accept", "subprotocol": subprotocol(scope.get("subprotocols", []))})
    await send({"type": "websocket.close", "code": 1008, "reason": "this server needs a token"})


def make_app(hub: Hub, views: Views | None = None) -> FastAPI:
    """The application over one hub; its lifespan runs the workers."""
    views = views or Views(hub)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(hub.run()), asyncio.create_task(views.run())]
        for task in tasks:
            task.add_done_callback(lambda task: _end_with(task, hub))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = FastAPI(title="whisper-ops server", version=__version__, lifespan=lifespan)

    app.include_router(endpoints.router(hub, views))
    app.include_router(admin.router(hub))
    app.include_router(files.router(hub))
    for path, dialect in DIALECTS.items():
        app.router.routes.append(WebSocketRoute(path, _endpoint(hub, dialect)))
    app.add_middleware(TokenGate, token=hub.settings.token, is_ticket=hub.admission.knows)
    app.add_middleware(Departures)
    _describe(app)
    return app


def _end_with(task: "asyncio.Task[None]", hub: Hub) -> None:
    """A server without its hub would accept streams and do nothing: better it ends, and is started again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("The server ends: a part of it failed", exc_info=error)
        hub.fail(f"a part of the server failed ({type(error).__name__}); the log has the details")


def documented_paths() -> list[str]:
    """Every path of the application, HTTP and WebSocket: what docs/api.md must tell of."""
    app = make_app(Hub(Settings(devices=(Device("sim", 0),), engine="simulated", model="simulated")))
    sockets = {route.path for route in app.routes if isinstance(route, WebSocketRoute)}
    return sorted({"/", "/docs", *app.openapi()["paths"], *sockets})


def _describe(app: FastAPI) -> None:
    """Put the wire types' schemas into /docs, where the endpoints refer to them."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document.setdefault("components", {}).setdefault("schemas", {}).update(endpoints.COMPONENTS)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema
