"""Answers that a server and a broker give in the same form."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from server.metrics import exposition
from server.metrics.openmetrics import MetricFamilies
from whisper_ops import wire


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value of `wire`, or what msgspec can encode."""
    return Response(wire.encode(value), status, headers, "application/json")


def error_answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """`{"error": MESSAGE}`."""
    return json_answer({"error": message}, status, headers)


def refusal_answer(code: str, message: str, retry_after_s: float) -> Response:
    """503 to a client that gets no slot now."""
    headers = {"Retry-After": f"{max(1.0, retry_after_s):.0f}"}
    return json_answer({"error": message, "code": code}, 503, headers)


def metrics_answer(families: MetricFamilies, request: Request) -> Response:
    """A page of metrics in the format that the request accepts."""
    page, content_type = exposition.written(families, request.headers.get("accept"))
    return Response(page, headers={"Vary": "Accept"}, media_type=content_type)


def readiness_answer(full: str, *, is_ready: bool, status: str, has_room: bool) -> Response:
    """`GET /readyz`: with `full` at "503" a server without a free slot is not ready either."""
    if full not in ("200", "503"):
        return error_answer(400, f"full {full[:64]!r} is neither 200 nor 503")
    if not is_ready:
        return error_answer(503, f"not ready: {status}", {"Retry-After": "5"})
    if full == "503" and not has_room:
        return error_answer(503, "no slot is free", {"Retry-After": "5"})
    return json_answer({"status": "ready"})
