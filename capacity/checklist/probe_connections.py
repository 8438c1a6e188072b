"""Connections that are opened to look at how a server takes them: no load, only guests at the door."""

import asyncio
import contextlib
import time
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from capacity.loadtest.target import Target, with_protocol
from capacity.protocols import PROTOCOLS, Client, StreamFailed, StreamReady, StreamRefused
from whisper_ops import tls_trust
from whisper_ops.known_software import WHISPERLIVEKIT

DEADLINE_SECONDS = 30.0
ASK_SECONDS = 5.0
_GREETS_FIRST = {WHISPERLIVEKIT}
"""Its servers greet everybody, and then look whether there is room."""
_GREETING_SECONDS = 0.3
_PROTOCOLS = ("native", WHISPERLIVEKIT)
"""Those that live beside a server's published endpoints, on the same port."""
_SILENCE = bytes(3200)
_STEP_SECONDS = 0.1


class ProbeConnection(msgspec.Struct, kw_only=True):
    """One connection, let in or not."""

    connection: ClientConnection | None = None
    open_seconds: float | None = None
    """Until the WebSocket was open."""
    ready_seconds: float | None = None
    """Until the server took sound."""
    gpu_id: int | None = None
    server_id: str | None = None
    """Which server process took it, where it says."""
    refusal: str | None = None
    """The server had no room and said so."""
    fault: str | None = None
    """Anything else that went wrong."""

    async def leave(self) -> None:
        """Close as a good client does."""
        if self.connection is not None:
            with contextlib.suppress(TimeoutError, ConnectionClosed):
                await asyncio.wait_for(self.connection.close(), 5)


async def arrive(target: Target, url: str | None = None, seconds: float = DEADLINE_SECONDS) -> ProbeConnection:
    """Connect and wait until the server is ready; what goes wrong is in the guest."""
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    guest, client = ProbeConnection(), PROTOCOLS[target.protocol]()
    to = _with_query(url or target.ws, client.query())
    began = time.monotonic()
    try:
        guest.connection = await connect(
            to,
            ssl=tls_trust.context_for(to),
            additional_headers=headers,
            compression=None,
            proxy=None,
            ping_interval=None,
            open_timeout=seconds,
            close_timeout=2,
        )
        guest.open_seconds = time.monotonic() - began
        async with asyncio.timeout(seconds):
            for message in client.hello():
                await guest.connection.send(message)
            await _until_ready(guest, guest.connection, client)
            ready = time.monotonic() - began
            if target.protocol in _GREETS_FIRST:
                await _unless_shown_out(guest, guest.connection, client)
        guest.ready_seconds = ready
    except InvalidStatus as error:
        status = error.response.status_code
        sentence = f"HTTP {status} before the upgrade"
        guest.refusal, guest.fault = (sentence, None) if status in {429, 503} else (None, sentence)
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else None
        if code == 1013:
            guest.refusal = guest.refusal or (closed.rcvd.reason if closed.rcvd else "") or "closed with 1013"
        else:
            guest.fault = guest.fault or f"closed with {code or 'no code'} before it was ready"
    except TimeoutError:
        guest.fault = f"not ready in {seconds:g} s"
    except (OSError, InvalidHandshake, WebSocketException) as error:
        guest.fault = str(error) or type(error).__name__
    return guest


async def speaking(target: Target) -> Target:
    """The same server in a protocol that it speaks, found by asking, where it says of itself that it is not ours.

    The one that was chosen is tried first; where no other fits it stays.
    """
    for protocol in (target.protocol, *(name for name in _PROTOCOLS if name != target.protocol)):
        asked = with_protocol(target, protocol)
        guest = await arrive(asked, seconds=ASK_SECONDS)
        await guest.leave()
        if guest.ready_seconds is not None or guest.refusal is not None:
            return asked
    return target


def _with_query(url: str, query: dict[str, str]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, urlencode(query)]))))


async def _until_ready(guest: ProbeConnection, connection: ClientConnection, client: Client) -> None:
    while True:
        match client.read(await connection.recv()):
            case StreamReady(gpu_id, _, server_id):
                guest.gpu_id, guest.server_id = gpu_id, server_id
                return
            case StreamRefused(reason):
                guest.refusal = reason
            case StreamFailed(reason):
                guest.fault = reason


async def _unless_shown_out(guest: ProbeConnection, connection: ClientConnection, client: Client) -> None:
    """Wait whether the refusal comes after the greeting; raises ConnectionClosed then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GREETING_SECONDS):
            while True:
                match client.read(await connection.recv()):
                    case StreamRefused(reason) | StreamFailed(reason):
                        guest.fault = reason


async def round_trip_seconds(target: Target, times: int = 5) -> float:
    """The shortest of a few TCP connects: what the network alone takes."""
    parts = urlsplit(target.ws)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    seconds = []
    for _ in range(times):
        began = time.monotonic()
        _, writer = await asyncio.open_connection(parts.hostname, port)
        seconds.append(time.monotonic() - began)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return min(seconds)


async def hold(guest: ProbeConnection, seconds: float) -> float | None:
    """Send silence in real time for so long; the age in seconds at which somebody cut the connection, else None."""
    connection = guest.connection
    assert connection is not None
    began = time.monotonic()
    reading = asyncio.create_task(_swallow(connection))
    try:
        due = began
        while time.monotonic() - began < seconds:
            await connection.send(_SILENCE)
            due += _STEP_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    except ConnectionClosed:
        return time.monotonic() - began
    finally:
        reading.cancel()
    return None


async def _swallow(connection: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            continue
