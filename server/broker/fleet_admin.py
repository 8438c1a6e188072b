"""Admin calls of a broker: drain a member or the broker itself, and the slots of all members."""

import asyncio

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.broker.fleet import Fleet
from server.broker.member import FleetMember
from server.http.admin_requests import DrainBody, LimitsBody, admin_call
from server.http.json_answers import error_answer, json_answer
from whisper_ops.untrusted_text import one_line


class MemberDrainBody(DrainBody):
    """The body of `POST|DELETE /admin/drain`. Without a member the broker itself drains: it hands out no addresses."""

    member: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.member is None and (self.reconnect_url is not None or self.deadline_s is not None):
            raise ValueError("reconnect_url and deadline_s go with member: the broker itself has no streams")


def routes(fleet: Fleet) -> list[Route]:
    """Routes over one fleet."""

    @admin_call(fleet.settings, MemberDrainBody)
    async def drain(request: Request, body: MemberDrainBody) -> Response:
        if body.member is None:
            fleet.draining = request.method == "POST"
            state = "draining" if fleet.draining else "healthy"
            return json_answer({"status": state, "members": len(fleet.members)})
        member = fleet.find_member(body.member)
        if member is None:
            known = ", ".join(sorted(one.name for one in fleet.members.values())[:20]) or "none"
            return error_answer(404, f"there is no member {one_line(body.member, 100)!r}; known: {known}")
        fields = {"reconnect_url": body.reconnect_url, "deadline_s": body.deadline_s}
        given = {name: value for name, value in fields.items() if value is not None}
        status, answer = await _pass_on(member, request.method, "/admin/drain", given)
        await member.poll()
        return json_answer({"member": member.name, **answer}, status)

    @admin_call(fleet.settings, LimitsBody)
    async def limits(_: Request, body: LimitsBody) -> Response:
        members = fleet.distinct_members()
        wanted = {"max_connections_per_gpu": body.max_connections_per_gpu}
        answers = await asyncio.gather(*(_pass_on(member, "PUT", "/admin/limits", wanted) for member in members))
        await asyncio.gather(*(member.poll() for member in members))
        failed = {
            member.name: answer.get("error")
            for member, (status, answer) in zip(members, answers, strict=True)
            if status != httpx.codes.OK
        }
        if failed:
            return json_answer({"error": "not every member took the limit", "members": failed}, 502)
        return json_answer({**wanted, "members": len(members)})

    return [
        Route("/admin/drain", drain, methods=["POST", "DELETE"]),
        Route("/admin/limits", limits, methods=["PUT"]),
    ]


async def _pass_on(
    member: FleetMember, method: str, path: str, body: dict[str, str | float] | dict[str, int]
) -> tuple[int, dict[str, object]]:
    """Make an admin call at a member: our status, 200 or 502, and the fields of our answer."""
    try:
        answer = await member.admin(method, path, dict(body))
    except httpx.HTTPError as error:
        return 502, {"error": f"{member.name} did not answer: {str(error) or type(error).__name__}"}
    try:
        fields = msgspec.json.decode(answer.body, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        fields = {}
    if answer.status == httpx.codes.OK:
        return 200, {name: fields[name] for name in ("status", "active_connections") if name in fields}
    why = one_line(str(fields.get("error", "no reason given")), 200)
    return 502, {"error": f"{member.name} answered HTTP {answer.status}: {why}"}
