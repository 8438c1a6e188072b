"""Kubernetes' API as far as a broker needs it, from inside a pod: with its authority and a token that rotates."""

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
"""How long a watch is asked for: the token is read anew for each, and a connection that died is noticed by then."""
_LATE_SECONDS = 15.0
_MOST_LINE_BYTES = 1 << 20
"""An EndpointSlice of 100 endpoints has some 40 kB."""
_MOST_TOKEN_BYTES = 1 << 16
_MOST_REASON_BYTES = 1 << 16


class KubernetesError(OSError):
    """The API server did not answer as asked; the text says how."""


class GoneError(KubernetesError):
    """What was asked for is older than what the API server remembers: all must be listed again."""


class Status(msgspec.Struct):
    """What the API server says instead of an answer."""

    message: str = ""
    code: int = 0

    def error(self, status: int = 0) -> KubernetesError:
        """As what is raised for it."""
        code = self.code or status
        said = f"the API server answered {code}: {one_line(self.message, 200) or 'no reason given'}"
        return GoneError(said) if code == httpx.codes.GONE else KubernetesError(said)


class KubernetesApi:
    """The API server; `account`: the folder with token and authority, which others keep current."""

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
        """The one that this pod is told of.

        Raises:
            UserError: this is no pod, or its account is kept from it.
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
            KubernetesError: there is none.
        """
        return await self._asked("GET", path, params=dict(params))

    async def patch(self, path: str, change: Mapping[str, Any]) -> None:
        """Merge a change into an object.

        Raises:
            KubernetesError: it was not done.
        """
        headers = {"Content-Type": "application/merge-patch+json"}
        await self._asked("PATCH", path, headers=headers, content=msgspec.json.encode(change))

    async def _asked(self, method: str, path: str, **asked: Any) -> bytes:  # noqa: ANN401  # what httpx takes
        headers = {**self._headers(), "Accept-Encoding": ACCEPTED, **asked.pop("headers", {})}
        try:
            answer = await fetch(
                self._http, method, path, limit=MAX_JSON_BYTES, seconds=SECONDS, headers=headers, **asked
            )
        except httpx.HTTPError as error:
            raise _unanswered(error) from error
        if answer.status != httpx.codes.OK:
            raise _refusal(answer.status, answer.body)
        return answer.body

    async def watch(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """Events, one JSON object each, until the API server ends the watch, as it is asked to after a while.

        Raises:
            KubernetesError: it is not answered, or breaks off.
        """
        asked = {**params, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": f"{WATCH_SECONDS:.0f}"}
        headers = {**self._headers(), "Accept-Encoding": "identity"}
        request = self._http.build_request("GET", path, params=asked, headers=headers)
        deadline = asyncio.get_running_loop().time() + WATCH_SECONDS + _LATE_SECONDS
        try:
            async with asyncio.timeout(SECONDS):
                response = await self._http.send(request, stream=True)
            try:
                if response.status_code != httpx.codes.OK:
                    raise _refusal(response.status_code, await _beginning(response))
                chunks, rest = response.aiter_raw(), b""
                while True:
                    # Around each wait: a deadline around a yield would end whoever asks.
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
            raise KubernetesError("the API server did not answer, or did not end a watch in time") from error
        except httpx.HTTPError as error:
            raise _unanswered(error) from error

    def _headers(self) -> dict[str, str]:
        """With the token as it is now: Kubernetes puts another one there each hour."""
        try:
            with (self._account / "token").open("rb") as file:
                token = file.read(_MOST_TOKEN_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise KubernetesError(f"the token of the service account cannot be read: {error}") from error
        return {"Accept": "application/json", "Authorization": f"Bearer {token}"}

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


async def _beginning(response: httpx.Response) -> bytes:
    """Of an answer that says why not: as much as a reason takes."""
    body = b""
    async with asyncio.timeout(SECONDS):
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _MOST_REASON_BYTES:
                break
    return body


def own_namespace(account: Path = ACCOUNT) -> str:
    """That of this pod.

    Raises:
        UserError: it is not told.
    """
    try:
        return (account / "namespace").read_text("utf-8").strip()
    except OSError as error:
        raise UserError(
            f"cannot read this pod's namespace ({account}/namespace); say it: k8s+http://SERVICE.NAMESPACE:8000"
        ) from error


def _refusal(status: int, body: bytes) -> KubernetesError:
    try:
        said = msgspec.json.decode(body, type=Status)
    except (msgspec.MsgspecError, RecursionError):
        said = Status()
    return said.error(status)


def _unanswered(error: httpx.HTTPError) -> KubernetesError:
    return KubernetesError(f"the API server does not answer: {str(error) or type(error).__name__}")
