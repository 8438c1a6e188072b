"""Admin calls of a broker: drain a member or the broker itself, and the slots of all members."""

import asyncio
from typing import TypeVar

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.auth import matches, presented
from server.broker.fleet import Fleet
from server.broker.member import FleetMember
from server.request_parsing import UnreadableError, read_json, small_body
from server.settings import checked_deadline, checked_stream_url
from whisper_ops import wire
from whisper_ops.untrusted_text import one_line

T = TypeVar("T")


class MemberDrain(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST|DELETE /admin/drain`. Without a member it is the broker that drains: it hands out nothing."""

    member: str | None = None
    reconnect_url: str | None = None
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        """ValueError: no address of a WebSocket, or no length of time; msgspec makes a message of it."""
        if self.reconnect_url is not None:
            checked_stream_url(self.reconnect_url)
        if self.deadline_s is not None:
            checked_deadline(self.deadline_s)
        if self.member is None and (self.reconnect_url is not None or self.deadline_s is not None):
            raise ValueError("reconnect_url and deadline_s go with member: the broker itself has no streams")


class MemberLimits(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `PUT /admin/limits`, for every member."""

    max_connections_per_gpu: int

    def __post_init__(self) -> None:
        """ValueError: out of range; msgspec makes a message of it."""
        if not 1 <= self.max_connections_per_gpu <= 100_000:
            raise ValueError("max_connections_per_gpu lies between 1 and 100000")


def _answer(body: object, status: int = 200) -> Response:
    return Response(wire.encode(body), status, media_type="application/json")


def routes(fleet: Fleet) -> list[Route]:
    """Routes over one fleet."""

    async def drain(request: Request) -> Response:
        asked = await _asked(fleet, request, MemberDrain)
        if isinstance(asked, Response):
            return asked
        on = request.method == "POST"
        if asked.member is None:
            fleet.draining = on
            return _answer({"status": "draining" if on else "healthy", "members": len(fleet.members)})
        member = fleet.named(asked.member)
        if member is None:
            known = ", ".join(sorted(one.name for one in fleet.members.values())[:20]) or "none"
            return _answer({"error": f"there is no member {one_line(asked.member, 100)!r}; known: {known}"}, 404)
        said = {"reconnect_url": asked.reconnect_url, "deadline_s": asked.deadline_s}
        body = {name: value for name, value in said.items() if value is not None}
        status, answer = await _call(member, request.method, "/admin/drain", body)
        await member.poll()
        return _answer({"member": member.name, **answer}, status)

    async def limits(request: Request) -> Response:
        asked = await _asked(fleet, request, MemberLimits)
        if isinstance(asked, Response):
            return asked
        members = fleet.counted()
        body = {"max_connections_per_gpu": asked.max_connections_per_gpu}
        answers = await asyncio.gather(*(_call(member, "PUT", "/admin/limits", body) for member in members))
        failed = {
            m.name: said.get("error") for m, (status, said) in zip(members, answers, strict=True) if status != 200
        }
        await asyncio.gather(*(member.poll() for member in members))
        if failed:
            return _answer({"error": "not every member took the limit", "members": failed}, 502)
        return _answer({**body, "members": len(members)})

    return [
        Route("/admin/drain", drain, methods=["POST", "DELETE"]),
        Route("/admin/limits", limits, methods=["PUT"]),
    ]


async def _asked(fleet: Fleet, request: Request, kind: type[T]) -> T | Response:
    """The body of a call that is allowed, or the answer to one that is not."""
    if not matches(fleet.settings.admin_token, presented(request.headers, request.query_params, [])):
        return _answer({"error": "this call needs the admin token (--admin-token-file)"}, 403)
    try:
        return read_json(await small_body(request) or b"{}", kind)
    except UnreadableError as error:
        return _answer({"error": f"cannot read the body: {error}"}, 422)


async def _call(
    member: FleetMember, method: str, path: str, body: dict[str, str | float] | dict[str, int]
) -> tuple[int, dict[str, object]]:
    """Pass a call on; the status and what to say of it."""
    try:
        answer = await member.admin(method, path, dict(body))
    except httpx.HTTPError as error:
        return 502, {"error": f"{member.name} did not answer: {str(error) or type(error).__name__}"}
    try:
        said = msgspec.json.decode(answer.body, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        said = {}
    if answer.status == httpx.codes.OK:
        return 200, {key: said[key] for key in ("status", "active_connections") if key in said}
    why = one_line(str(said.get("error", "no reason given")), 200)
    return 502, {"error": f"{member.name} answered HTTP {answer.status}: {why}"}
