"""The broker's HTTP application: a server's endpoints, answered for the fleet. It takes no audio."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
from server.broker.fleet_metrics import with_broker_families
from server.broker.fleet_views import FleetViews
from server.broker.member import BROKER_HEADER
from server.http import page
from server.http.json_answers import error_answer, json_answer, metrics_answer, readiness_answer, refusal_answer
from server.http.request_gate import add_gate
from server.metrics import openmetrics
from server.metrics.openmetrics import MetricFamilies
from whisper_ops import wire

log = logging.getLogger("whisper_ops.broker")

STREAM_PATHS = ("/ws", "/asr", "/v1/realtime", "/")
"""Where a server's WebSocket protocols are."""
_NOT_FORWARDED = {"token", "ticket"}
"""Query parameters of the client: the member's ticket replaces both."""

Endpoint = Callable[[Request], Awaitable[Response]]


class FleetTask(Protocol):
    """A task that runs as long as the broker does, such as scaling."""

    async def run(self, fleet: Fleet) -> None:
        """Run until cancelled."""


def make_app(fleet: Fleet, fleet_task: FleetTask | None = None) -> Starlette:
    """The application over one fleet; its lifespan runs the fleet's polling and `fleet_task`."""
    views = FleetViews(fleet)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(one) for one in (fleet.run(), fleet_task and fleet_task.run(fleet)) if one]
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


def _routes(fleet: Fleet, views: FleetViews) -> list[Route]:
    def fresh(view: Callable[[], object]) -> Endpoint:
        """An endpoint that polls the members before it answers."""

        async def endpoint(_: Request) -> Response:
            await fleet.refresh()
            return json_answer(view())

        return endpoint

    def members() -> object:
        return {"broker": fleet.broker_id, "members": [one.as_wire() for one in fleet.members.values()]}

    async def connect(request: Request) -> Response:
        try:
            answer = await fleet.connect(request.client.host if request.client else "")
        except FleetFull as full:
            return _refusal(full)
        active, most = views.streams()
        answer = msgspec.structs.replace(answer, active_streams=active, max_streams=most)
        return json_answer(answer, headers={"Cache-Control": "no-store"})

    async def ping(_: Request) -> Response:
        if not fleet.is_ready:
            return Response(status_code=204)
        return json_answer(_gpu_memory(views.gpu_status().gpus))

    async def livez(_: Request) -> Response:
        return json_answer({"status": "alive"})

    async def readyz(request: Request) -> Response:
        has_room = any(member.free for member in fleet.members.values())
        full = request.query_params.get("full", "200")
        return readiness_answer(full, is_ready=fleet.is_ready, status=views.health().status, has_room=has_room)

    return [
        Route("/health", fresh(views.health)),
        Route("/gpu-status", fresh(views.gpu_status)),
        Route("/performance", fresh(views.performance)),
        Route("/snapshot", _not_for_brokers(fresh(views.snapshot))),
        Route("/members", fresh(members)),
        Route("/metrics", _metrics(fleet, views, openmetrics.own)),
        Route("/metrics/prometheus", _metrics(fleet, views, openmetrics.with_published)),
        Route("/connect", _not_for_brokers(connect)),
        Route("/ping", ping),
        Route("/livez", livez),
        Route("/readyz", readyz),
    ]


def _metrics(fleet: Fleet, views: FleetViews, families: Callable[[wire.ServerSnapshot], MetricFamilies]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        await fleet.refresh()
        return metrics_answer(with_broker_families(families(views.snapshot()), fleet), request)

    return endpoint


def _gpu_memory(gpus: Sequence[wire.GpuEntry]) -> dict[str, float | str | None]:
    """The fields of `/ping`: sums over the GPUs whose memory is known, in GB."""
    known = [gpu for gpu in gpus if gpu.allocated_memory_gb is not None and gpu.total_memory_gb is not None]
    used, total = (
        round(sum(getattr(gpu, name) for gpu in known), 3) if known else None
        for name in ("allocated_memory_gb", "total_memory_gb")
    )
    return {"vram_used": used, "vram_total": total, "gpu_name": gpus[0].name if gpus else None}


def _not_for_brokers(answer: Endpoint) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if BROKER_HEADER in request.headers:
            return error_answer(409, "a broker is no member of another broker: name the servers")
        return await answer(request)

    return endpoint


def _stream_routes(fleet: Fleet) -> list[WebSocketRoute]:
    """A broker answers WebSocket upgrades with a redirect to a member, for clients that follow redirects."""

    async def redirect(socket: WebSocket) -> None:
        try:
            answer = await fleet.connect(socket.client.host if socket.client else "")
        except FleetFull as full:
            await socket.send_denial_response(_refusal(full))
            return
        location = _redirected(answer.ws_url, socket.url.path, socket.url.query)
        await socket.send_denial_response(Response(status_code=307, headers={"Location": location}))

    return [WebSocketRoute(path, redirect) for path in STREAM_PATHS]


def _redirected(ws_url: str, path: str, query: str) -> str:
    """The member's address for the same protocol, with its ticket and the client's query parameters."""
    parts = urlsplit(ws_url)
    member_path = parts.path.removesuffix("/ws").rstrip("/") + path if path != "/ws" else parts.path
    forwarded = [
        (name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in _NOT_FORWARDED
    ]
    joined = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *forwarded])
    return urlunsplit(parts._replace(path=member_path, query=joined))
