"""The admin calls' bodies, and who may make them: with the admin token, and nobody where none is set."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from server.auth import matches, presented
from server.http.json_answers import error_answer
from server.http.request_gate import AccessRules
from server.request_parsing import UnreadableError, read_json, small_body
from server.settings import checked_deadline, checked_stream_url

T = TypeVar("T")


class LimitsBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `PUT /admin/limits`."""

    max_connections_per_gpu: int

    def __post_init__(self) -> None:
        """ValueError: out of range; msgspec makes a message of it."""
        if not 1 <= self.max_connections_per_gpu <= 100_000:
            raise ValueError("max_connections_per_gpu lies between 1 and 100000")


class DrainBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /admin/drain`, which may be left out."""

    reconnect_url: str | None = None
    deadline_s: float | None = None
    """After so many seconds the streams that are left are ended; None: as the server's settings say."""

    def __post_init__(self) -> None:
        """ValueError: no address of a WebSocket, or no length of time; msgspec makes a message of it."""
        if self.reconnect_url is not None:
            checked_stream_url(self.reconnect_url)
        if self.deadline_s is not None:
            checked_deadline(self.deadline_s)


class EmptyBody(msgspec.Struct, forbid_unknown_fields=True):
    """A body without fields, which may be left out."""


def has_admin_token(request: Request, settings: AccessRules) -> bool:
    """Whether a request bears the admin token; never where none is set."""
    return matches(settings.admin_token, presented(request.headers, request.query_params, []))


def admin_call(
    settings: AccessRules, kind: type[T]
) -> Callable[[Callable[[Request, T], Awaitable[Response]]], Callable[[Request], Awaitable[Response]]]:
    """Make an endpoint of a function of request and body: 403 without the admin token, 422 for another body."""

    def decorate(answer: Callable[[Request, T], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if not has_admin_token(request, settings):
                return error_answer(403, "this call needs the admin token (--admin-token-file)")
            try:
                body = read_json(await small_body(request) or b"{}", kind)
            except UnreadableError as error:
                return error_answer(422, f"cannot read the body: {error}")
            return await answer(request, body)

        # FastAPI names operations by it; functools.wraps would show it the body as a parameter.
        endpoint.__name__ = answer.__name__
        return endpoint

    return decorate
