"""The application: HTTP endpoints, WebSockets and the tasks behind them, put together around one hub."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from server.http import admin, page, routes, sample_audio, transcriptions
from server.http.disconnects import Disconnects
from server.http.request_gate import add_gate
from server.metrics.host_readings import HostReadings
from server.metrics.snapshot_builder import SnapshotBuilder
from server.protocols.client_connection import ClientConnection
from server.protocols.native import NativeConnection
from server.protocols.realtime import RealtimeConnection
from server.protocols.whisperlive import WhisperLiveConnection
from server.protocols.whisperlivekit import LiveKitConnection
from server.sessions.hub import Hub
from whisper_ops import __version__

log = logging.getLogger("whisper_ops.server")


PROTOCOLS: dict[str, type[ClientConnection]] = {
    "/ws": NativeConnection,
    "/asr": LiveKitConnection,
    "/v1/realtime": RealtimeConnection,
    "/": WhisperLiveConnection,
}
"""Where each protocol is spoken."""


def _endpoint(hub: Hub, protocol: type[ClientConnection]) -> Callable[[WebSocket], Awaitable[None]]:
    async def serve(socket: WebSocket) -> None:
        await protocol(hub, socket).run()

    return serve


def make_app(hub: Hub, played: sample_audio.SampleAudio | None = None) -> FastAPI:
    """The application over one hub; its lifespan runs the workers. `played`: what the page may play."""
    readings = HostReadings(hub)
    views = SnapshotBuilder(hub, readings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(hub.run()), asyncio.create_task(readings.run())]
        for task in tasks:
            task.add_done_callback(lambda task: _end_with(task, hub))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # FastAPI's own pages fetch scripts from elsewhere; ours is in `page`.
    app = FastAPI(title="whisper-ops server", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

    app.include_router(routes.router(hub, views))
    app.include_router(admin.router(hub))
    app.include_router(transcriptions.router(hub))
    app.include_router(sample_audio.router(played or sample_audio.NONE))
    app.router.routes.extend(page.routes(page.PAGES))
    for path, protocol in PROTOCOLS.items():
        app.router.routes.append(WebSocketRoute(path, _endpoint(hub, protocol)))
    add_gate(app, hub.settings, hub.admission.tickets.is_open, page.PAGES)
    app.add_middleware(Disconnects)
    _describe(app)
    return app


def _end_with(task: "asyncio.Task[None]", hub: Hub) -> None:
    """A server without its hub would accept streams and do nothing: better it ends, and is started again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("The server ends: one of its tasks failed", exc_info=error)
        hub.fail(f"a task of the server failed ({type(error).__name__}); the log has the details")


def _describe(app: FastAPI) -> None:
    """Put the wire types' schemas into /docs, where the endpoints refer to them."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document.setdefault("components", {}).setdefault("schemas", {}).update(routes.COMPONENTS)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema
