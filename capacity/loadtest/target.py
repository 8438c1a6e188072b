"""The server under test: its addresses, whether it is there, and what it says about itself."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec
from platformdirs import user_cache_path

from capacity.corpus.maker import Style, make_default
from capacity.corpus.tone_corpus import make_tones
from capacity.corpus.word_times import Progress
from capacity.loadgen.messages import Endpoint
from capacity.protocols import PROTOCOLS, check_protocol
from whisper_ops import tls_trust
from whisper_ops.addresses import parsed, shown
from whisper_ops.errors import Exit, UserError
from whisper_ops.exporters import catalogue
from whisper_ops.exporters.catalogue import ready_made
from whisper_ops.http_answers import MAX_JSON_BYTES, HttpAnswer, UnreadableAnswer
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.client import closing_source, exporter_source, poll, source_of
from whisper_ops.snapshot_client.http_client import Access, HttpClient
from whisper_ops.snapshot_client.source import Source

_PLAIN = {"ws": "http", "wss": "https"}
_SOCKET = {"http": "ws", "https": "wss"}
_DEADLINE_SECONDS = 5.0


class Exporter(msgspec.Struct, frozen=True):
    """A page of metrics at an address of its own."""

    url: str
    kind: str
    """Which exporter of the catalogue it is."""


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
    exporter: Exporter | None = None
    """What says how it is, where it does not do so itself."""

    @property
    def address(self) -> str | None:
        """How it is written on a command line, without what may be secret; None: by its name."""
        parts = urlsplit(self.ws)
        if parts.path not in {"", "/", PROTOCOLS[self.protocol].path}:
            return urlunsplit((parts.scheme, self.name, parts.path, "", ""))
        return f"https://{self.name}" if parts.scheme == "wss" else None

    @property
    def software(self) -> str:
        """What a server of this protocol is, where it does not say so itself."""
        return PROTOCOLS[self.protocol].software

    @property
    def endpoint(self) -> Endpoint:
        """Where its streams connect."""
        url = f"{self.http}/connect" if self.two_step else self.ws
        return Endpoint(url=url, protocol=self.protocol, two_step=self.two_step, token=self.token)


def parse_target(
    url: str,
    protocol: str = "native",
    *,
    two_step: bool = False,
    token: str | None = None,
    metrics: str | None = None,
) -> Target:
    """Read an address as a user writes it: `host:8000`, `http://host:8000` or `ws://host:8000/ws`.

    `metrics`: `[KIND+]URL` of the page that says how the server is, as `whisperlive+http://host:9091`.

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
        exporter=None if metrics is None else parse_exporter(metrics, PROTOCOLS[check_protocol(protocol)].software),
    )


def parse_exporter(text: str, software: str) -> Exporter:
    """Read `[KIND+]URL`; without a kind it is that of the software.

    Raises:
        UserError: it is no address, or of a kind that does not say how many streams a server has.
    """
    kind, plus, url = text.partition("+")
    if not plus or "://" in kind:
        kind, url = software, text
    servers = [known for known in catalogue.KINDS if "streams_active" in ready_made(known).parts["server"]]
    if kind not in servers:
        raise UserError(f"--metrics {shown(text)!r}: write KIND+URL, where KIND is one of {', '.join(servers)}")
    written = url if "//" in url else f"http://{url}"
    try:
        parsed(written, ("http", "https"))
    except ValueError as error:
        raise UserError(
            f"--metrics {shown(text)!r} is no address of a page ({error}); write it like http://127.0.0.1:9091"
        ) from error
    return Exporter(written, kind)


def with_protocol(target: Target, protocol: str) -> Target:
    """The same server in another protocol, where that lives."""
    if protocol == target.protocol:
        return target
    parts = urlsplit(target.ws)
    ws = urlunsplit(parts._replace(path=PROTOCOLS[check_protocol(protocol)].path, query=""))
    return msgspec.structs.replace(target, protocol=protocol, ws=ws)


def open_source(target: Target) -> AbstractAsyncContextManager[Source]:
    """What asks the target how it is, until the block is left."""
    return closing_source(source_for(target))


def source_for(target: Target) -> Source:
    """The same, to be closed by who has it."""
    if target.exporter is not None:
        # Its port is not that of the streams: the server's token is not for it.
        mapping = ready_made(target.exporter.kind)
        return exporter_source(target.exporter.url, mapping, name=target.name, access=Access(direct=True))
    return source_of(target.http, name=target.name, access=_access(target))


def _access(target: Target) -> Access:
    return Access(target.token, direct=True)


async def poll_once(source: Source) -> Snapshot:
    """One poll. A server that does not answer, or says nothing of itself, gives a silent snapshot with the reason."""
    return await poll(source, _DEADLINE_SECONDS)


async def reach(target: Target) -> Snapshot:
    """The first poll. Servers of other makes need no `/snapshot`, only an open port.

    Raises:
        UserError: nothing answers there, or it asks for a bearer token (exit 3).
    """
    http = HttpClient(target.http, _access(target))
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            answer = await http.get_any("/", MAX_JSON_BYTES)
        if answer.status == httpx.codes.UNAUTHORIZED and "bearer" in _challenge(answer):
            raise needs_token(target)
    except (httpx.ProtocolError, UnreadableAnswer):
        pass  # something answers, if not in HTTP, or more than fits: a bare WebSocket server, a large page
    except (httpx.HTTPError, OSError, TimeoutError) as error:
        late = f"gave no answer within {_DEADLINE_SECONDS:g} s"
        reason = late if isinstance(error, TimeoutError) else http.why(error)
        why = f"cannot reach {target.name}: {reason}; is the server running?{_port_hint(target)}"
        raise UserError(tls_trust.untrusted(target.name, error) or why, Exit.UNREACHABLE) from error
    finally:
        await http.close()
    async with open_source(target) as source:
        return await poll_once(source)


def _port_hint(target: Target) -> str:
    """Where no port was named, the one of HTTP was tried, and servers of ours have another."""
    named = urlsplit(target.http).port is not None
    return "" if named else " No port was named; `whisper-ops serve` uses 8000"


def needs_token(target: Target) -> UserError:
    """What to say of a server that refuses the token, or the lack of one (exit 3)."""
    problem = "does not take this token" if target.token else "needs a token"
    return UserError(f"{target.name} {problem}: give it with --token-file FILE or WHISPER_OPS_TOKEN", Exit.UNREACHABLE)


def _challenge(answer: HttpAnswer) -> str:
    return str(answer.headers.get("www-authenticate", "")).lower()


async def speech_for(target: Target, progress: Progress, style: Style = "sentences") -> Path:
    """The corpus to play when none is named: real speech, or to a simulated server the tones that it hears.

    Either is made where it is missing.

    Raises:
        UserError: nothing answers there (exit 3), or the speech cannot be made.
    """
    first = await reach(target)
    if first.identity is not None and first.identity.simulated:
        if style != "sentences":
            raise UserError(f"--style {style} is real speech, and {target.name} is simulated: it hears tones alone")
        return await asyncio.to_thread(make_tones, user_cache_path("whisper-ops") / "tones")
    return await asyncio.to_thread(make_default, progress, style)
