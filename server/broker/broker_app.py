"""The broker's HTTP: the calls of one server, answered for the fleet. Audio passes it by."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from server.broker.fleet import Fleet, FleetFull
from server.broker.fleet_admin import routes as admin_routes
from server.broker.fleet_metrics import with_brokers
from server.broker.fleet_views import FleetViews
from server.broker.member import BROKER_HEADER
from server.http import page
from server.http.json_answers import error_answer, json_answer, metrics_answer, readiness_answer, refusal_answer
from server.http.request_gate import add_gate
from server.metrics import openmetrics

log = logging.getLogger("whisper_ops.broker")

STREAM_PATHS = ("/ws", "/asr", "/v1/realtime", "/")
"""Where a server's dialects are spoken."""
_NO_MEMBER = "a broker is no member of another broker: name the servers"
_NOT_PASSED_ON = {"token", "ticket"}
"""The ticket stands for the token, and a client brings none of its own."""


class Companion(Protocol):
    """What runs beside a fleet."""

    async def run(self, fleet: Fleet) -> None:
        """Until cancelled."""


def make_app(fleet: Fleet, companion: Companion | None = None) -> Starlette:
    """The application over one fleet; its lifespan keeps the members known, and a companion running."""
    views = FleetViews(fleet)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(one) for one in (fleet.run(), companion and companion.run(fleet)) if one]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    pages = {"/": page.PAGES["/"]}
    streams = _stream_routes(fleet)
    app = Starlette(
        routes=[*_routes(fleet, views), *admin_routes(fleet), *streams, *page.routes(pages)], lifespan=lifespan
    )
    add_gate(app, fleet.settings, lambda _: False, pages)
    return app


def _refusal(full: FleetFull) -> Response:
    return refusal_answer(full.code, full.message, full.retry_after_s)


def _routes(fleet: Fleet, views: FleetViews) -> list[Route]:  # noqa: C901  # a list of routes, each a line or two
    async def health(_: Request) -> Response:
        await fleet.refresh()
        return json_answer(views.health())

    async def gpu_status(_: Request) -> Response:
        await fleet.refresh()
        return json_answer(views.gpu_status())

    async def performance(_: Request) -> Response:
        await fleet.refresh()
        return json_answer(views.performance())

    async def snapshot(request: Request) -> Response:
        if BROKER_HEADER in request.headers:
            return error_answer(409, _NO_MEMBER)
        await fleet.refresh()
        return json_answer(views.snapshot())

    async def members(_: Request) -> Response:
        await fleet.refresh()
        return json_answer({"broker": fleet.broker_id, "members": [one.as_wire() for one in fleet.members.values()]})

    async def own_metrics(request: Request) -> Response:
        await fleet.refresh()
        return metrics_answer(with_brokers(openmetrics.own(views.snapshot()), fleet), request)

    async def published_metrics(request: Request) -> Response:
        await fleet.refresh()
        return metrics_answer(with_brokers(openmetrics.with_published(views.snapshot()), fleet), request)

    async def connect(request: Request) -> Response:
        if BROKER_HEADER in request.headers:
            return error_answer(409, _NO_MEMBER)
        try:
            _, answer = await fleet.connect(request.client.host if request.client else "")
        except FleetFull as full:
            return _refusal(full)
        active, most = views.streams()
        answer = msgspec.structs.replace(answer, active_streams=active, max_streams=most)
        return json_answer(answer, headers={"Cache-Control": "no-store"})

    async def ping(_: Request) -> Response:
        if not fleet.is_ready:
            return Response(status_code=204)
        gpus = views.gpu_status().gpus
        known = [gpu for gpu in gpus if gpu.allocated_memory_gb is not None and gpu.total_memory_gb is not None]
        used, total = (
            round(sum(getattr(gpu, name) for gpu in known), 3) if known else None
            for name in ("allocated_memory_gb", "total_memory_gb")
        )
        return json_answer({"vram_used": used, "vram_total": total, "gpu_name": gpus[0].name if gpus else None})

    async def livez(_: Request) -> Response:
        return json_answer({"status": "alive"})

    async def readyz(request: Request) -> Response:
        has_room = any(member.free for member in fleet.members.values())
        full = request.query_params.get("full", "200")
        return readiness_answer(full, is_ready=fleet.is_ready, status=views.health().status, has_room=has_room)

    return [
        Route("/health", health),
        Route("/gpu-status", gpu_status),
        Route("/performance", performance),
        Route("/snapshot", snapshot),
        Route("/members", members),
        Route("/metrics", own_metrics),
        Route("/metrics/prometheus", published_metrics),
        Route("/connect", connect),
        Route("/ping", ping),
        Route("/livez", livez),
        Route("/readyz", readyz),
    ]


def _stream_routes(fleet: Fleet) -> list[WebSocketRoute]:
    """Where a server takes streams a broker answers with the way to one: clients that follow redirects need no more."""

    async def redirect(socket: WebSocket) -> None:
        try:
            _, answer = await fleet.connect(socket.client.host if socket.client else "")
        except FleetFull as full:
            await socket.send_denial_response(_refusal(full))
            return
        there = _redirected(answer.ws_url, socket.url.path, socket.url.query)
        await socket.send_denial_response(Response(status_code=307, headers={"Location": there}))

    return [WebSocketRoute(path, redirect) for path in STREAM_PATHS]


def _redirected(ws_url: str, path: str, query: str) -> str:
    """The member's address for the dialect that was asked for here, with what the client said beside it."""
    parts = urlsplit(ws_url)
    there = parts.path.removesuffix("/ws").rstrip("/") + path if path != "/ws" else parts.path
    said = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in _NOT_PASSED_ON]
    joined = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *said])
    return urlunsplit(parts._replace(path=there, query=joined))
