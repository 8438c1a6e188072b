"""The server under test: its addresses, whether it is there, and what it says about itself."""

import asyncio
import time
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec
from platformdirs import user_cache_path

from capacity.clients import PROTOCOLS, check_protocol
from capacity.speech.maker import Progress, make_default
from capacity.speech.tones import make_tones
from whisper_ops import published, trust, wire
from whisper_ops.addresses import parsed, shown
from whisper_ops.answers import ACCEPTED, MAX_JSON_BYTES, Answer, UnreadableAnswer, fetch
from whisper_ops.bounds import possible
from whisper_ops.errors import Exit, UserError
from whisper_ops.loose_json import NotJsonError, OtherShapeError, decode
from whisper_ops.snapshot import Snapshot, from_wire

_PLAIN = {"ws": "http", "wss": "https"}
_SOCKET = {"http": "ws", "https": "wss"}
_DEADLINE_SECONDS = 5.0
_NO_SUCH_PATH = {httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED, httpx.codes.NOT_IMPLEMENTED}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is reached."""

    name: str
    """How it is known in the history: host and port, as the dashboard knows it."""
    http: str
    """Base of its HTTP endpoints, without a trailing slash."""
    ws: str
    """Where streams connect, in the protocol that was chosen."""
    protocol: str = "native"
    two_step: bool = False
    token: str | None = None

    @property
    def software(self) -> str:
        """What a server of this protocol is, where it does not say so itself."""
        return PROTOCOLS[self.protocol].software

    @property
    def stream_url(self) -> str:
        """What a generator needs: the socket, or the address that hands one out."""
        return f"{self.http}/connect" if self.two_step else self.ws


def parse_target(url: str, protocol: str = "native", *, two_step: bool = False, token: str | None = None) -> Target:
    """Read an address as a user writes it: `host:8000`, `http://host:8000` or `ws://host:8000/ws`.

    Raises:
        UserError: it is no such address.
    """
    written = url if "//" in url else f"http://{url}"
    try:
        parts = parsed(written, {*_PLAIN, *_SOCKET})
    except ValueError as error:
        raise UserError(
            f"{shown(url)!r} is no server address ({error}); write it like http://127.0.0.1:8000 or ws://127.0.0.1:8000/ws"
        ) from error
    plain = _PLAIN.get(parts.scheme, parts.scheme)
    socket = _SOCKET.get(parts.scheme, parts.scheme)
    path = parts.path if parts.path not in {"", "/"} else PROTOCOLS[check_protocol(protocol)].path
    http = urlunsplit((plain, parts.netloc, "", "", ""))
    return Target(
        name=parts.netloc.rpartition("@")[2],
        http=http,
        ws=urlunsplit((socket, parts.netloc, path, parts.query, "")),
        protocol=protocol,
        two_step=two_step,
        token=token,
    )


def with_protocol(target: Target, protocol: str) -> Target:
    """The same server in another protocol, where that lives."""
    if protocol == target.protocol:
        return target
    parts = urlsplit(target.ws)
    ws = urlunsplit(parts._replace(path=PROTOCOLS[check_protocol(protocol)].path, query=""))
    return msgspec.structs.replace(target, protocol=protocol, ws=ws)


def http_client(target: Target) -> httpx.AsyncClient:
    """A client for the target's HTTP endpoints; proxies of the environment are not for the server under test."""
    headers = {"Accept-Encoding": ACCEPTED} | ({"Authorization": f"Bearer {target.token}"} if target.token else {})
    return httpx.AsyncClient(
        base_url=target.http, headers=headers, timeout=_DEADLINE_SECONDS, trust_env=False, verify=trust.context()
    )


Before: TypeAlias = dict[str | None, wire.ServerSnapshot]
"""The last answer of each server at an address, by its `server_id`."""


async def poll(http: httpx.AsyncClient, target: Target, before: Before | None = None) -> Snapshot:
    """Ask how the server is, once: by `/snapshot`, and where there is none by the published endpoints.

    A server that does not answer, or has neither, gives a silent snapshot with the reason. With `before`, which is kept
    up to date, the snapshot has what its server counted since it was asked last.
    """
    began = time.monotonic()

    async def get(path: str) -> bytes | None:
        answer = await fetch(http, "GET", path, limit=MAX_JSON_BYTES, seconds=_DEADLINE_SECONDS)
        if answer.status in _NO_SUCH_PATH:
            return None
        if answer.status != httpx.codes.OK:
            raise UnreadableAnswer(f"{path} answered HTTP {answer.status}")
        return answer.body

    try:
        read = _snapshot(await get("/snapshot"))
        if isinstance(read, wire.ServerSnapshot):
            last = None if before is None else before.get(read.server_id)
            if before is not None:
                before[read.server_id] = read
            return possible(from_wire(target.name, time.time(), time.monotonic() - began, read, last))
        found = await published.ask(get)
        if found is not None:
            return possible(published.snapshot(target.name, time.time(), time.monotonic() - began, found))
        error = read
    except httpx.RemoteProtocolError as problem:
        error = f"{str(problem).rstrip('.')}{trust.maybe_tls(target.http)}"
    except httpx.HTTPError as problem:
        error = str(problem) or type(problem).__name__
    except (NotJsonError, OtherShapeError) as problem:
        error = f"what it says of itself cannot be read: {problem}"
    return Snapshot(server=target.name, at=time.time(), state="silent", error=error)


def _snapshot(body: bytes | None) -> wire.ServerSnapshot | str:
    """What a whisper-ops server says, or why this is none."""
    if body is None:
        return "it has no /snapshot, and no /health that says how many slots there are"
    try:
        return decode(body, wire.ServerSnapshot)[0]
    except (NotJsonError, OtherShapeError) as problem:
        return f"/snapshot is not a whisper-ops snapshot: {problem}"


async def reach(target: Target) -> Snapshot:
    """The first poll. Servers of other makes need no `/snapshot`, only an open port.

    Raises:
        UserError: nothing answers there, or it asks for a bearer token (exit 3).
    """
    async with http_client(target) as http:
        try:
            answer = await fetch(http, "GET", "/", limit=MAX_JSON_BYTES, seconds=_DEADLINE_SECONDS)
            if answer.status == httpx.codes.UNAUTHORIZED and "bearer" in _challenge(answer):
                raise needs_token(target)
        except (httpx.ProtocolError, UnreadableAnswer):
            pass  # something answers, if not in HTTP, or more than fits: a bare WebSocket server, a large page
        except (httpx.HTTPError, OSError) as error:
            why = f"cannot reach {target.name}: {str(error) or type(error).__name__}; is the server running?"
            raise UserError(trust.untrusted(target.name, error) or why, Exit.UNREACHABLE) from error
        return await poll(http, target)


def needs_token(target: Target) -> UserError:
    """What to say of a server that keeps its door shut without the right token (exit 3)."""
    said = "does not take this token" if target.token else "needs a token"
    return UserError(f"{target.name} {said}: give it with --token-file FILE or WHISPER_OPS_TOKEN", Exit.UNREACHABLE)


def _challenge(answer: Answer) -> str:
    return str(answer.headers.get("www-authenticate", "")).lower()


async def speech_for(target: Target, progress: Progress) -> Path:
    """The corpus to play when none is named: real speech, or to a simulated server the tones that it hears.

    Either is made where it is missing.

    Raises:
        UserError: nothing answers there (exit 3), or the speech cannot be made.
    """
    first = await reach(target)
    if first.identity is not None and first.identity.simulated:
        return await asyncio.to_thread(make_tones, user_cache_path("whisper-ops") / "tones")
    return await asyncio.to_thread(make_default, progress)
