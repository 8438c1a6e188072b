"""Answers of other people's HTTP servers, with bounds: on the bytes that come, on what they decode to, and on time.

httpx decodes each piece it gets as far as it goes: 271 bytes of gzip in gzip in gzip are three gigabytes. So bodies are
read as they come over the wire and decoded here, one layer deep and no further than allowed.
"""

import asyncio
import time
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

MAX_BYTES = 16 * 1024 * 1024
"""A large Prometheus page has 2 MB; more than this is something else."""
MAX_JSON_BYTES = 4 * 1024 * 1024
"""A snapshot of 64 GPUs is some 60 kB. No JSON reader can be interrupted, so this is also a tenth of a second."""
MAX_REPLY_BYTES = 64 * 1024
"""Of the answer to a call that does something."""
SECONDS = 10.0

ACCEPTED = "gzip, deflate"
"""What to ask for, and all that is decoded."""


class HttpAnswer(NamedTuple):
    """What came back, whole and decoded."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def content_type(self) -> str:
        """The type of the body as the server says it; empty where it does not."""
        return self.headers.get("content-type", "")


class UnreadableAnswer(httpx.RequestError):
    """An answer that is no answer to the question; its text follows the server's name: "sent more than 16 MiB"."""


class TooLargeAnswer(UnreadableAnswer):
    """An answer of more bytes than were allowed for it."""


async def fetch(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    *,
    limit: int = MAX_BYTES,
    seconds: float = SECONDS,
    **asked: Any,  # noqa: ANN401  # what httpx takes: json, params, headers
) -> HttpAnswer:
    """Ask, and read the answer to its end.

    Raises:
        httpx.HTTPError: nobody answered, the answer broke off, took more than `seconds`, or passed a bound.
    """
    return await fetch_request(client, client.build_request(method, path, **asked), limit=limit, seconds=seconds)


async def fetch_request(
    client: httpx.AsyncClient, request: httpx.Request, *, limit: int = MAX_BYTES, seconds: float | None = SECONDS
) -> HttpAnswer:
    """As `fetch`, of a request that is made already; `seconds` None where the caller has a deadline."""
    try:
        async with asyncio.timeout(seconds):
            response = await client.send(request, stream=True)
            try:
                body = _Body(response, limit)
                async for chunk in response.aiter_raw():
                    body.add(chunk)
            finally:
                await response.aclose()
    except TimeoutError as error:
        raise httpx.ReadTimeout(f"gave no whole answer within {seconds:g} s", request=request) from error
    return HttpAnswer(response.status_code, body.whole(), response.headers)


async def status_of(client: httpx.AsyncClient, method: str, url: str, *, seconds: float, **asked: Any) -> int:  # noqa: ANN401  # as fetch
    """Ask, and look at nothing but the status: what else is sent is not read.

    Raises:
        httpx.HTTPError: nobody answered within `seconds`.
    """
    request = client.build_request(method, url, **asked)
    try:
        async with asyncio.timeout(seconds):
            response = await client.send(request, stream=True)
            await response.aclose()
    except TimeoutError as error:
        raise httpx.ReadTimeout(f"gave no answer within {seconds:g} s", request=request) from error
    return response.status_code


def fetch_sync(
    client: httpx.Client, path: str, params: Mapping[str, Any], *, limit: int = MAX_BYTES, seconds: float = 60.0
) -> HttpAnswer:
    """As `fetch`, for who has no event loop; the client's own timeout bounds each piece of the answer.

    Raises:
        httpx.HTTPError: as there.
    """
    deadline = time.monotonic() + seconds
    with client.stream("GET", path, params=dict(params), headers={"Accept-Encoding": ACCEPTED}) as response:
        body = _Body(response, limit)
        for chunk in response.iter_raw():
            body.add(chunk)
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"gave no whole answer within {seconds:g} s", request=response.request)
    return HttpAnswer(response.status_code, body.whole(), response.headers)


class _Body:
    """A body as it comes, decoded within its limit."""

    def __init__(self, response: httpx.Response, limit: int) -> None:
        encodings = response.headers.get("content-encoding", "").split(",")
        layers = [layer for layer in (word.strip().lower() for word in encodings) if layer not in {"", "identity"}]
        self._request = response.request
        self._limit = limit
        self._raw = self._size = 0
        self._chunks: list[bytes] = []
        self._decoder = None
        if layers:
            if len(layers) > 1 or layers[0] not in {"gzip", "x-gzip", "deflate"}:
                raise UnreadableAnswer(
                    f"sent a body in {', '.join(layers)[:60]}, which nobody asked for", request=response.request
                )
            self._decoder = zlib.decompressobj(wbits=47)  # of gzip and zlib, whichever it is

    def add(self, chunk: bytes) -> None:
        self._raw += len(chunk)
        try:
            plain = self._decoder.decompress(chunk, self._limit - self._size + 1) if self._decoder else chunk
        except zlib.error as error:
            raise UnreadableAnswer(
                f"sent a body that is not compressed as it says: {error}", request=self._request
            ) from error
        self._size += len(plain)
        if self._size > self._limit or self._raw > self._limit:
            size = f"{self._limit / 2**20:g} MiB" if self._limit >= 2**20 else f"{self._limit / 1024:g} KiB"
            raise TooLargeAnswer(f"sent more than {size}", request=self._request)
        self._chunks.append(plain)

    def whole(self) -> bytes:
        if self._decoder is not None and not self._decoder.eof and self._raw:
            raise UnreadableAnswer("sent a compressed body that is cut off", request=self._request)
        return b"".join(self._chunks)
