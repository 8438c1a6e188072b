"""Admin calls: the slots of a GPU, and draining. They need the admin token, and are refused when none is set."""

from typing import TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from server.connections.open_files import make_room
from server.http.routes import admin_allowed
from server.request_parsing import UnreadableError, read_json, small_body
from server.sessions.hub import Hub
from server.settings import checked_deadline, checked_stream_url
from whisper_ops import wire
from whisper_ops.errors import UserError

T = TypeVar("T")


class LimitRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `PUT /admin/limits`."""

    max_connections_per_gpu: int

    def __post_init__(self) -> None:
        """ValueError: out of range; msgspec makes a message of it."""
        if not 1 <= self.max_connections_per_gpu <= 100_000:
            raise ValueError("max_connections_per_gpu lies between 1 and 100000")


class DrainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /admin/drain`, which may be left out."""

    reconnect_url: str | None = None
    deadline_s: float | None = None
    """When what is left is ended; None: as the server was told."""

    def __post_init__(self) -> None:
        """ValueError: no address of a WebSocket, or no length of time; msgspec makes a message of it."""
        if self.reconnect_url is not None:
            checked_stream_url(self.reconnect_url)
        if self.deadline_s is not None:
            checked_deadline(self.deadline_s)


class EmptyBody(msgspec.Struct, forbid_unknown_fields=True):
    """A body that says nothing, and may be left out."""


def _answer(body: object, status: int = 200) -> Response:
    return Response(wire.encode(body), status, media_type="application/json")


async def _asked(hub: Hub, request: Request, kind: type[T]) -> T | Response:
    """The body of a call that is allowed, or the answer to one that is not."""
    if not admin_allowed(hub, request):
        return _answer({"error": "this call needs the admin token (--admin-token-file)"}, 403)
    try:
        return read_json(await small_body(request) or b"{}", kind)
    except UnreadableError as error:
        return _answer({"error": f"cannot read the body: {error}"}, 422)


def router(hub: Hub) -> APIRouter:
    """Routes over one hub."""
    api = APIRouter(prefix="/admin")

    def state() -> Response:
        return _answer({"status": hub.status, "active_connections": len(hub.sessions)})

    @api.put("/limits", summary="Change the slots of every GPU")
    async def limits(request: Request) -> Response:
        asked = await _asked(hub, request, LimitRequest)
        if isinstance(asked, Response):
            return asked
        try:
            streams = asked.max_connections_per_gpu * len(hub.settings.devices)
            descriptors = make_room(streams)
        except UserError as error:
            return _answer({"error": str(error)}, 422)
        hub.slots.set_limit(asked.max_connections_per_gpu)
        hub.connection_limits.fit(descriptors, streams)
        return _answer(asked)

    @api.post("/drain", summary="Admit no more streams, and let the live ones end")
    async def drain(request: Request) -> Response:
        asked = await _asked(hub, request, DrainRequest)
        if isinstance(asked, Response):
            return asked
        hub.draining.begin(asked.reconnect_url, asked.deadline_s)
        return state()

    @api.delete("/drain", summary="Admit streams again")
    async def undrain(request: Request) -> Response:
        asked = await _asked(hub, request, DrainRequest)
        if isinstance(asked, Response):
            return asked
        hub.draining.call_off()
        return state()

    _add_lease(api, hub)
    return api


def _add_lease(api: APIRouter, hub: Hub) -> None:
    @api.put("/lease", summary="Say that the supervisor is there: streams are taken for another while")
    async def lease(request: Request) -> Response:
        asked = await _asked(hub, request, EmptyBody)
        if isinstance(asked, Response):
            return asked
        if not hub.lease.is_asked_for:
            return _answer({"error": "this server is on no lease (--lease)"}, 409)
        hub.lease.renew()
        return _answer(
            {
                "lease_seconds": hub.lease.seconds,
                "status": hub.status,
                "active_connections": len(hub.sessions),
                "used_slots": hub.slots.used,
                "total_slots": hub.slots.total,
            }
        )
