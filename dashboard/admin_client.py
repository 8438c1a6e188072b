"""What can be done to a server from the dashboard: drain, undrain, the limit; and commands that run in the background.

A server's own admin token opens these calls; without one they are refused there. Nothing is done without having been
confirmed on screen. Imports no textual.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from dashboard.background_command import BackgroundCommand
from whisper_ops import tls_trust
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.http_answers import MAX_REPLY_BYTES, fetch
from whisper_ops.server_names import default_name
from whisper_ops.untrusted_text import one_line

_DEADLINE_SECONDS = 10.0
_REASON_CHARACTERS = 300


class Admin:
    """Admin calls to servers by their name on screen."""

    def __init__(
        self,
        urls: Mapping[str, str],
        token: str | None,
        transport: httpx.AsyncBaseTransport | None = None,
        tokens: Mapping[str, str] | None = None,
    ) -> None:
        """`urls` of whisper-ops servers, `token` the admin's, `tokens` those with which the servers are polled."""
        self._urls = urls
        self._token = token
        self._transport = transport
        self._tokens = tokens or {}

    def url(self, server: str) -> str:
        """The address of a server.

        Raises:
            UserError: it is other software, or its address is not known: it was found behind a DNS name.
        """
        url = self._urls.get(server)
        if url is None:
            raise UserError(f"{server} can only be watched: it is other software, or was not named by its own address")
        return url

    async def drain(self, server: str, member: str | None = None) -> str:
        """Let no new stream in; those that are there go on. `member`: of a broker. Returns a sentence."""
        await self._call("POST", server, "/admin/drain", _member_body(member))
        return f"{member or server} is draining: open streams go on, new ones are refused"

    async def undrain(self, server: str, member: str | None = None) -> str:
        """Let new streams in again. Returns a sentence."""
        await self._call("DELETE", server, "/admin/drain", _member_body(member))
        return f"{member or server} accepts new streams again"

    async def limit(self, server: str, connections: int, per: str = "GPU") -> str:
        """Set the slots of each device, which is called `per`. Returns a sentence."""
        await self._call("PUT", server, "/admin/limits", {"max_connections_per_gpu": connections})
        return f"{server} now admits {counted(connections, 'stream')} per {per}"

    def check_token(self) -> None:
        """Raises UserError where there is no admin token: every call would be refused."""
        if self._token is None:
            raise UserError("this needs the admin token: --admin-token-file, or WHISPER_OPS_ADMIN_TOKEN")

    def in_background(self, command: str, server: str, *arguments: str) -> BackgroundCommand:
        """A whisper-ops command about a server, in a process of its own; it bears the same token as the polls."""
        token = self._tokens.get(server)
        return BackgroundCommand(
            f"{command} of {server}",
            [sys.executable, "-m", "whisper_ops", command, self.url(server), *arguments],
            {"WHISPER_OPS_TOKEN": token} if token else None,
        )

    @property
    def may_act(self) -> bool:
        """Whether there is an admin token; without one every call is refused."""
        return self._token is not None

    def plan(self, server: str, history: Path) -> BackgroundCommand:
        """The plan from what was measured of a server, in a process of its own."""
        words = ["plan", "--history", str(history), "--server", default_name(self.url(server))]
        return BackgroundCommand(f"plan of {server}", [sys.executable, "-m", "whisper_ops", *words])

    async def _call(self, method: str, server: str, path: str, body: Mapping[str, int | str] | None = None) -> None:
        url = self.url(server)
        self.check_token()
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            async with httpx.AsyncClient(
                transport=self._transport, timeout=_DEADLINE_SECONDS, verify=tls_trust.client_context()
            ) as client:
                answer = await fetch(
                    client, method, url.rstrip("/") + path, limit=MAX_REPLY_BYTES, seconds=_DEADLINE_SECONDS,
                    json=body, headers=headers,
                )  # fmt: skip
        except httpx.HTTPError as error:
            raise UserError(f"no answer from {server}: {str(error) or type(error).__name__}") from error
        if answer.status in {401, 403}:
            raise UserError(f"{server} refused the admin token ({answer.status})")
        if not httpx.codes.is_success(answer.status):
            raise UserError(f"{server} answered {answer.status}: {_reason(answer.body) or f'{method} {path}'}")


def _reason(body: bytes) -> str:
    """Why a server refused: the sentence of its `error` field, else the beginning of what it sent."""
    try:
        reason = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        reason = None
    return one_line(reason if isinstance(reason, str) else body.decode("utf-8", "replace"), _REASON_CHARACTERS)


def _member_body(member: str | None) -> dict[str, str] | None:
    return None if member is None else {"member": member}
