"""A real HTTP server that answers for EndpointSlices and pods as Kubernetes' API server does, as a test tells it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Object = dict[str, Any]


def endpoint_slice(
    name: str, pods: Sequence[str], version: int, *, family: str = "IPv4", port: int = 8000, service: str = "asr"
) -> Object:
    """As the API server writes one. A pod: `name=address`, before it `!` where it is not ready, `-` where it goes."""
    return {
        "metadata": {
            "name": name,
            "namespace": "voice",
            "uid": f"uid-of-{name}",
            "resourceVersion": str(version),
            "generation": 3,
            "creationTimestamp": "2026-11-28T20:00:00Z",
            "labels": {"kubernetes.io/service-name": service},
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Service", "name": service, "uid": "u", "controller": True}
            ],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:x": {}}}],
        },
        "addressType": family,
        "endpoints": [_endpoint(pod) for pod in pods] or None,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


def _endpoint(pod: str) -> Object:
    name, _, address = pod.lstrip("!-").partition("=")
    ready = not pod.startswith(("!", "-"))
    return {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": ready, "terminating": pod.startswith("-")},
        "targetRef": {"kind": "Pod", "namespace": "voice", "name": name, "uid": f"uid-of-{name}"},
        "nodeName": "node-1",
        "zone": "eu-1a",
    }


def status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    }  # fmt: skip


class _Json(JSONResponse):
    """As Go's encoder ends each: with a line feed."""

    def render(self, content: Any) -> bytes:
        return super().render(content) + b"\n"


class ApiServer:
    """What it knows, what it was asked, and what it does wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.version = 100
        self.slices: dict[str, Object] = {}
        self.oldest = 0
        """Watches from an older version are answered 410."""
        self.token = "first"
        self.broken: Object | None = None
        """Answered to everything, as a status."""
        self.no_watch: Object | None = None
        """Answered to watches, as a status."""
        self.page = 500
        self.lists: list[str] = []
        self.watches: list[str] = []
        self.patches: list[tuple[str, Object]] = []
        self._events: list[tuple[int, str, Object]] = []
        self._watching: set[asyncio.Queue[Object | None]] = set()

    def put(self, name: str, pods: Sequence[str], **more: Any) -> None:
        """A slice comes, or changes."""
        self.version += 1
        kind = "MODIFIED" if name in self.slices else "ADDED"
        self.slices[name] = endpoint_slice(name, pods, self.version, **more)
        self._tell(kind, self.slices[name])

    def delete(self, name: str) -> None:
        self.version += 1
        gone = self.slices.pop(name)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell("DELETED", gone)

    def bookmark(self) -> None:
        self.version += 1
        mark = {"kind": "EndpointSlice", "metadata": {"resourceVersion": str(self.version), "creationTimestamp": None}}
        for queue in self._watching:
            queue.put_nowait({"type": "BOOKMARK", "object": {**mark, "endpoints": None, "ports": None}})

    def send(self, event: Object) -> None:
        """Whatever else is to come through the watches."""
        for queue in self._watching:
            queue.put_nowait(event)

    def end_watches(self) -> None:
        """As it does after `timeoutSeconds`."""
        for queue in self._watching:
            queue.put_nowait(None)

    def forget(self) -> None:
        """What was before is compacted: no watch can begin there."""
        self.oldest = self.version
        self._events.clear()

    def _tell(self, kind: str, one: Object) -> None:
        self._events.append((self.version, kind, one))
        self.send({"type": kind, "object": {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", **one}})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/apis/discovery.k8s.io/v1/namespaces/voice/endpointslices", self._slices),
                Route("/api/v1/namespaces/voice/pods/{name}", self._patch, methods=["PATCH"]),
            ]
        )

    def _refused(self, request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _Json(status(401, "Unauthorized", "Unauthorized"), 401)
        if self.broken is not None:
            return _Json(self.broken, self.broken["code"])
        return None

    async def _slices(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        assert request.query_params["labelSelector"] == "kubernetes.io/service-name=asr"
        if request.query_params.get("watch") != "1":
            return self._list(request)
        since = request.query_params["resourceVersion"]
        self.watches.append(since)
        if self.no_watch is not None:
            return _Json(self.no_watch, self.no_watch["code"])
        if int(since) < self.oldest:
            gone = status(410, "Expired", f"too old resource version: {since} ({self.oldest})")
            return StreamingResponse(_once({"type": "ERROR", "object": gone}), media_type="application/json")
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        for version, kind, one in self._events:
            if version > int(since):
                queue.put_nowait({"type": kind, "object": one})
        # Known from when it is counted in `watches`: what a test sends from then on arrives.
        self._watching.add(queue)
        return StreamingResponse(self._watch(queue), media_type="application/json")

    def _list(self, request: Request) -> Response:
        start = int(request.query_params.get("continue") or 0)
        self.lists.append(request.query_params.get("continue", ""))
        names = sorted(self.slices)
        shown = names[start : start + min(self.page, int(request.query_params["limit"]))]
        rest = len(names) - start - len(shown)
        more: Object = {"continue": str(start + len(shown)), "remainingItemCount": rest} if rest else {}
        return _Json(
            {
                "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
                "metadata": {"resourceVersion": str(self.version), **more},
                "items": [self.slices[name] for name in shown],
            }
        )  # fmt: skip

    async def _watch(self, queue: asyncio.Queue[Object | None]) -> AsyncIterator[bytes]:
        try:
            while (event := await queue.get()) is not None:
                line = json.dumps(event).encode() + b"\n"
                # Chunks end anywhere.
                yield line[: len(line) // 2]
                yield line[len(line) // 2 :]
        finally:
            self._watching.discard(queue)

    async def _patch(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        if request.headers["content-type"] != "application/merge-patch+json":
            return _Json(status(415, "UnsupportedMediaType", "the body of the request was of no known type"), 415)
        change = await request.json()
        self.patches.append((request.path_params["name"], change))
        return _Json({"kind": "Pod", "metadata": {"name": request.path_params["name"], **change["metadata"]}})


async def _once(event: Object) -> AsyncIterator[bytes]:
    yield json.dumps(event).encode() + b"\n"


@asynccontextmanager
async def running_api_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[ApiServer]:
    """On a free port of this machine; over TLS with a context that has its certificate."""
    api = ApiServer()
    config = uvicorn.Config(
        api.app(), port=0, log_level="warning", timeout_graceful_shutdown=1,
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
        await asyncio.sleep(0.01)
    api.url = f"http{'s' if tls else ''}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield api
    finally:
        api.end_watches()
        server.should_exit = True
        await task
