"""Admin calls: the slots of a GPU, draining, and the supervisor's lease."""

from fastapi import APIRouter, Request, Response

from server.connections.open_files import make_room
from server.http.admin_requests import DrainBody, EmptyBody, LimitsBody, admin_call
from server.http.json_answers import error_answer, json_answer
from server.sessions.hub import Hub
from whisper_ops.errors import UserError


def router(hub: Hub) -> APIRouter:
    """Routes over one hub."""
    api = APIRouter(prefix="/admin")

    def state() -> dict[str, str | int]:
        return {"status": hub.status, "active_connections": len(hub.sessions)}

    @api.put("/limits", summary="Change the slots of every GPU")
    @admin_call(hub.settings, LimitsBody)
    async def limits(_: Request, body: LimitsBody) -> Response:
        streams = body.max_connections_per_gpu * len(hub.settings.devices)
        try:
            descriptors = make_room(streams)
        except UserError as error:
            return error_answer(422, str(error))
        hub.slots.set_limit(body.max_connections_per_gpu)
        hub.connection_limits.fit(descriptors, streams)
        return json_answer(body)

    @api.post("/drain", summary="Admit no more streams, and let the live ones end")
    @admin_call(hub.settings, DrainBody)
    async def drain(_: Request, body: DrainBody) -> Response:
        hub.drain.start(body.reconnect_url, body.deadline_s)
        return json_answer(state())

    @api.delete("/drain", summary="Admit streams again")
    @admin_call(hub.settings, DrainBody)
    async def undrain(_: Request, __: DrainBody) -> Response:
        hub.drain.cancel()
        return json_answer(state())

    @api.put("/lease", summary="Say that the supervisor is there: streams are taken for another while")
    @admin_call(hub.settings, EmptyBody)
    async def lease(_: Request, __: EmptyBody) -> Response:
        if not hub.lease.is_required:
            return error_answer(409, "this server has no lease; start it with --lease")
        hub.lease.renew()
        slots = {"used_slots": hub.slots.used, "total_slots": hub.slots.total}
        return json_answer({"lease_seconds": hub.lease.seconds, **state(), **slots})

    return api
