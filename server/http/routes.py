"""The HTTP endpoints, except admin's: they read the views and never wait for an engine."""

import os
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from server.http import connect
from server.http.admin_requests import has_admin_token
from server.http.json_answers import error_answer, json_answer, metrics_answer, readiness_answer, refusal_answer
from server.metrics import openmetrics
from server.metrics.snapshot_builder import SnapshotBuilder
from server.request_parsing import UnreadableError, read_json, small_body
from server.sessions.hub import Hub
from server.sessions.refusals import AdmissionRefused
from server.settings import is_loopback
from whisper_ops import wire


def _schemas(*kinds: type) -> dict[str, Any]:
    """OpenAPI component schemas of wire types, which FastAPI cannot see into."""
    return msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")[1]


COMPONENTS = _schemas(wire.ServerSnapshot, wire.Connect, wire.ConnectFor, wire.SampleSound)


def answers(kind: type) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI is told of an answer of a wire type."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {200: {"description": "Now.", "content": {"application/json": {"schema": schema}}}}


def router(hub: Hub, views: SnapshotBuilder) -> APIRouter:  # noqa: C901  # a list of routes, each a line or two
    """Routes over one hub."""
    api = APIRouter()

    @api.get("/health", summary="Status and slots", responses=answers(wire.Health))
    async def health() -> Response:
        return json_answer(views.health())

    @api.get("/gpu-status", summary="Every GPU, or the CPU", responses=answers(wire.GpuStatus))
    async def gpu_status() -> Response:
        return json_answer(views.gpu_status())

    @api.get("/performance", summary="Counts and latencies", responses=answers(wire.Performance))
    async def performance() -> Response:
        return json_answer(views.performance())

    @api.get("/snapshot", summary="Everything a poller asks for", responses=answers(wire.ServerSnapshot))
    async def snapshot() -> Response:
        return json_answer(views.snapshot())

    @api.get("/metrics", summary="Prometheus' text format, or OpenMetrics where Accept asks for it")
    async def own_metrics(request: Request) -> Response:
        return metrics_answer(openmetrics.own(views.snapshot()), request)

    @api.get("/metrics/prometheus", summary="The same, with the names existing dashboards use")
    async def published_metrics(request: Request) -> Response:
        return metrics_answer(openmetrics.with_published(views.snapshot()), request)

    @api.get("/connect", summary="A direct address and a slot held for it", responses=answers(wire.Connect))
    async def connected(request: Request) -> Response:
        return _connect(hub, request)

    @api.post("/connect", summary="The same for a broker, which says for whom", responses=answers(wire.Connect))
    async def connected_for(request: Request) -> Response:
        return await _connect_for(hub, request)

    @api.get("/ping", summary="204 while starting, 200 with memory when ready")
    async def ping() -> Response:
        if not any(gpu.state == "ready" for gpu in hub.slots.gpus):
            return Response(status_code=204)
        first = views.gpu_status().gpus[0]
        memory = {"vram_used": first.allocated_memory_gb, "vram_total": first.total_memory_gb}
        return json_answer({**memory, "gpu_name": first.name})

    @api.get("/livez", summary="The process answers")
    async def livez() -> Response:
        return json_answer({"status": "alive"})

    @api.get("/readyz", summary="503 while starting, draining or with no usable GPU; full is 200")
    async def readyz(full: str = "200") -> Response:
        has_room = hub.slots.used < hub.slots.total
        return readiness_answer(full, is_ready=hub.ready, status=hub.status, has_room=has_room)

    return api


def _connect(hub: Hub, request: Request) -> Response:
    """Nothing is reserved before it is known that the request is allowed and complete."""
    debug = request.query_params.get("debug", "")
    if debug not in ("", "0", "1"):
        return error_answer(422, "debug is 0 or 1")
    if debug == "1" and not has_admin_token(request, hub.settings):
        return error_answer(403, "debug=1 needs the admin token")
    try:
        answer = connect.answer(hub, request)
    except AdmissionRefused as refusal:
        return refusal_answer(refusal.code, refusal.message, refusal.retry_after_s)
    fresh = {"Cache-Control": "no-store"}  # a ticket is for one client
    if debug != "1":
        return json_answer(answer, headers=fresh)
    return json_answer({**msgspec.to_builtins(answer), "environment": runpod_environment()}, headers=fresh)


async def _connect_for(hub: Hub, request: Request) -> Response:
    if not vouching_allowed(hub, request):
        return error_answer(403, "POST /connect needs the admin token (--admin-token-file)")
    try:
        asked = read_json(await small_body(request) or b"{}", wire.ConnectFor)
        answer = connect.answer_for(hub, request, asked.address)
    except UnreadableError as error:
        return error_answer(422, f"cannot read the body: {error}")
    except AdmissionRefused as refusal:
        return refusal_answer(refusal.code, refusal.message, refusal.retry_after_s)
    return json_answer(answer, headers={"Cache-Control": "no-store"})


def vouching_allowed(hub: Hub, request: Request) -> bool:
    """Whether a request may ask for others: with the admin token, and where nobody else reaches us with none at all."""
    settings = hub.settings
    if settings.admin_token is None and settings.token is None and is_loopback(settings.host):
        return True
    return has_admin_token(request, hub.settings)


def runpod_environment() -> dict[str, str]:
    """The RUNPOD_* variables, with secrets masked."""
    secret = ("KEY", "TOKEN", "SECRET")
    found = {k: v for k, v in os.environ.items() if k.startswith("RUNPOD_")}
    return {k: "***" if any(word in k for word in secret) else v for k, v in found.items()}
