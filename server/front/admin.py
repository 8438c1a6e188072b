"""Admin calls: the slots of a GPU, and draining. They need the admin token, and are refused when none is set."""

import msgspec
from fastapi import APIRouter, Request, Response

from server.front.endpoints import admin_allowed
from server.front.hub import Hub
from whisper_ops import wire


class Limits(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `PUT /admin/limits`."""

    max_connections_per_gpu: int


def _answer(body: object, status: int = 200) -> Response:
    return Response(wire.encode(body), status, media_type="application/json")


def router(hub: Hub) -> APIRouter:
    """Routes over one hub."""
    api = APIRouter(prefix="/admin")
    denied = {"error": "this call needs the admin token (--admin-token-file)"}

    @api.put("/limits", summary="Change the slots of every GPU")
    async def limits(request: Request) -> Response:
        if not admin_allowed(hub, request):
            return _answer(denied, 403)
        try:
            asked = msgspec.json.decode(await request.body(), type=Limits)
        except msgspec.DecodeError as error:
            return _answer({"error": f"cannot read the body: {error}"}, 422)
        if not 1 <= asked.max_connections_per_gpu <= 100_000:
            return _answer({"error": "max_connections_per_gpu lies between 1 and 100000"}, 422)
        hub.slots.set_limit(asked.max_connections_per_gpu)
        return _answer(asked)

    @api.post("/drain", summary="Admit no more streams, and let the live ones end")
    async def drain(request: Request) -> Response:
        if not admin_allowed(hub, request):
            return _answer(denied, 403)
        hub.drain()
        return _answer({"status": hub.status, "active_connections": len(hub.sessions)})

    @api.delete("/drain", summary="Admit streams again")
    async def undrain(request: Request) -> Response:
        if not admin_allowed(hub, request):
            return _answer(denied, 403)
        hub.undrain()
        return _answer({"status": hub.status, "active_connections": len(hub.sessions)})

    return api
