"""A small client of the Kubernetes API, for use in a pod: with its service account's CA and rotating token."""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from whisper_ops.errors import UserError
from whisper_ops.http_answers import ACCEPTED, MAX_JSON_BYTES, fetch
from whisper_ops.untrusted_text import one_line

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SECONDS = 10.0
WATCH_SECONDS = 60.0
"""Length of a watch: each has a fresh token, and a dead connection is noticed by then."""
_GRACE_SECONDS = 15.0
_MOST_LINE_BYTES = 1 << 20
"""An EndpointSlice of 100 endpoints has some 40 kB."""
_MOST_TOKEN_BYTES = 1 << 16
_MOST_REASON_BYTES = 1 << 16


class KubernetesError(OSError):
    """The API server refused, or did not answer; the text is for people."""


class GoneError(KubernetesError):
    """410: the version asked for is too old, and all must be listed again."""


class Status(msgspec.Struct):
    """The API server's own error object."""

    message: str = ""
    code: int = 0

    def as_error(self, status: int = 0) -> KubernetesError:
        code = self.code or status
        text = f"the API server answered {code}: {one_line(self.message, 200) or 'no reason given'}"
        return GoneError(text) if code == httpx.codes.GONE else KubernetesError(text)


class KubernetesApi:
    """`account`: the folder with `token` and `ca.crt`, which Kubernetes keeps up to date."""

    def __init__(self, url: str, account: Path = ACCOUNT) -> None:
        self._account = account
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=None,  # noqa: S113  # each call has a deadline for the whole of it
            limits=httpx.Limits(max_connections=4),
            trust_env=False,
            verify=ssl.create_default_context(cafile=str(account / "ca.crt")) if url.startswith("https:") else True,
        )

    @classmethod
    def of_this_pod(cls) -> "KubernetesApi":
        """The API server of the cluster that this pod runs in.

        Raises:
            UserError: this is no pod, or its service account's token is not mounted.
        """
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
        if not host or not (ACCOUNT / "token").is_file():
            raise UserError(
                "k8s+ asks the API server of the cluster that the broker runs in, and this is no pod with a service "
                f"account (KUBERNETES_SERVICE_HOST and {ACCOUNT}/token); name the servers, or use dns+"
            )
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port or 443}")

    async def get(self, path: str, params: Mapping[str, str]) -> bytes:
        """The body of an answer.

        Raises:
            KubernetesError: no answer, or a refusal.
        """
        return await self._request("GET", path, params=dict(params))

    async def patch(self, path: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object.

        Raises:
            KubernetesError: no answer, or a refusal.
        """
        headers = {"Content-Type": "application/merge-patch+json"}
        await self._request("PATCH", path, headers=headers, content=msgspec.json.encode(change))

    async def _request(self, method: str, path: str, **options: Any) -> bytes:  # noqa: ANN401  # what httpx takes
        headers = {**self._headers(), "Accept-Encoding": ACCEPTED, **options.pop("headers", {})}
        try:
            answer = await fetch(
                self._http, method, path, limit=MAX_JSON_BYTES, seconds=SECONDS, headers=headers, **options
            )
        except httpx.HTTPError as error:
            raise _no_answer(error) from error
        if answer.status != httpx.codes.OK:
            raise _refusal(answer.status, answer.body)
        return answer.body

    async def watch(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """Events, one JSON object each, until the API server ends the watch after `WATCH_SECONDS`.

        Raises:
            KubernetesError: no answer, a refusal, or a broken connection.
        """
        query = {**params, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": f"{WATCH_SECONDS:.0f}"}
        headers = {**self._headers(), "Accept-Encoding": "identity"}
        request = self._http.build_request("GET", path, params=query, headers=headers)
        deadline = asyncio.get_running_loop().time() + WATCH_SECONDS + _GRACE_SECONDS
        try:
            async with asyncio.timeout(SECONDS):
                response = await self._http.send(request, stream=True)
            try:
                if response.status_code != httpx.codes.OK:
                    raise _refusal(response.status_code, await _read_reason(response))
                chunks, rest = response.aiter_raw(), b""
                while True:
                    # Around each wait only: around a yield the deadline would cancel the caller.
                    async with asyncio.timeout_at(deadline):
                        chunk = await anext(chunks, b"")
                    if not chunk:
                        return
                    *lines, rest = (rest + chunk).split(b"\n")
                    if len(rest) > _MOST_LINE_BYTES:
                        raise KubernetesError(f"the API server sent an event of more than {_MOST_LINE_BYTES:,} bytes")
                    for line in lines:
                        yield line
            finally:
                await response.aclose()
        except TimeoutError as error:
            raise KubernetesError("the API server did not answer in time, or did not end a watch") from error
        except httpx.HTTPError as error:
            raise _no_answer(error) from error

    def _headers(self) -> dict[str, str]:
        """Reads the token each time: Kubernetes replaces it about once an hour."""
        try:
            with (self._account / "token").open("rb") as file:
                token = file.read(_MOST_TOKEN_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KubernetesError(f"the token of the service account cannot be read: {error}") from error
        return {"Accept": "application/json", "Authorization": f"Bearer {token}"}

    async def close(self) -> None:
        await self._http.aclose()


async def _read_reason(response: httpx.Response) -> bytes:
    """The body of a refusal, cut off after 64 KiB."""
    body = b""
    async with asyncio.timeout(SECONDS):
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _MOST_REASON_BYTES:
                break
    return body


def own_namespace(account: Path = ACCOUNT) -> str:
    """The namespace of this pod.

    Raises:
        UserError: its file cannot be read.
    """
    try:
        return (account / "namespace").read_text("utf-8").strip()
    except OSError as error:
        raise UserError(
            f"cannot read this pod's namespace ({account}/namespace); name it: k8s+http://SERVICE.NAMESPACE:8000"
        ) from error


def _refusal(status: int, body: bytes) -> KubernetesError:
    try:
        reason = msgspec.json.decode(body, type=Status)
    except (msgspec.MsgspecError, RecursionError):
        reason = Status()
    return reason.as_error(status)


def _no_answer(error: httpx.HTTPError) -> KubernetesError:
    return KubernetesError(f"the API server does not answer: {str(error) or type(error).__name__}")
