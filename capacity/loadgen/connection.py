"""A stream's connection, of `sweep` and of `check`: where it goes, when it is ready, and what a failure means."""

import asyncio
import contextlib
import time
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from capacity.loadgen.messages import Endpoint
from capacity.loadgen.receiver import Receiver
from capacity.loadgen.recording import StreamRecording
from capacity.loadgen.stream_outcome import StreamEnd, StreamOutcome, connection_lost
from capacity.loadgen.two_step_connect import NoTokenError, ServerFullError, ask_connect
from capacity.protocols import PROTOCOLS, Client, StreamReady
from whisper_ops import tls_trust, wire

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of one message: WhisperLiveKit sends its whole transcript each time, a day of talk in 1 MB."""

_CONNECT_ERRORS = (OSError, InvalidHandshake, InvalidURI, WebSocketException)
_CLOSE_SECONDS = 2.0
TOKEN_KEPT = "the token was not sent"  # noqa: S105  # a sentence for people, no secret
"""Only the host that was named on the command line is trusted with it."""
_UNAUTHORIZED = 401
_LONGEST_NAME = 200
"""Characters of what a server calls itself or a connection."""


class Address(NamedTuple):
    """Where one stream connects."""

    url: str
    headers: dict[str, str]
    replica: str | None
    """Host and port that `/connect` handed out; None without it."""
    remark: str | None = None
    """What may be the reason if it does not let us in."""


class StreamConnection:
    """One stream's connection with all that hangs on it: its dialect, its recording, and its end."""

    def __init__(self, endpoint: Endpoint, recording: StreamRecording, block_seconds: float | None = None) -> None:
        self._endpoint = endpoint
        self._listening: asyncio.Task[None] | None = None
        self.client: Client = PROTOCOLS[endpoint.protocol]()
        self.end = StreamEnd()
        self.receiver = Receiver(self.client, recording, self.end, block_seconds)
        self.socket: ClientConnection | None = None
        self.replica: str | None = None
        """Host and port that `/connect` handed out; None without it."""
        self.connect_seconds: float | None = None
        """Until the WebSocket was open."""
        self.ready_seconds: float | None = None
        """Until the server took sound."""
        self._upgrade = StreamReady()

    @property
    def server(self) -> StreamReady:
        """What the server said of itself: in `ready`, or on the upgrade where that says nothing."""
        ready = self.receiver.ready
        ready_message = ready.result() if ready.done() and not ready.cancelled() else StreamReady()
        return StreamReady(
            ready_message.gpu_id,
            ready_message.connection_id or self._upgrade.connection_id,
            ready_message.server_id or self._upgrade.server_id,
            ready_message.total_gpus or self._upgrade.total_gpus,
        )

    async def open(self, seconds: float) -> StreamOutcome | None:
        """Connect and wait until the server takes sound, `seconds` at most. None: it does; else what became of it."""
        began = time.monotonic()
        try:
            to = await _address(self._endpoint, self.client, seconds)
            self.replica, self.end.remark = to.replica, to.remark
            self.socket = await _connecting(to, seconds)
            self.connect_seconds = time.monotonic() - began
            self._upgrade = _upgrade_ready(self.socket)
            self._listening = asyncio.create_task(self.receiver.listen(self.socket))
            for message in self.client.hello():
                await self.socket.send(message)
        except ConnectionClosed as closed:
            return connection_lost(closed)
        except _CONNECT_ERRORS as error:
            return connect_failure(error, seconds)
        await wait_for_first(self.receiver.ready, self.end.reached, seconds=began + seconds - time.monotonic())
        if self.end.outcome is not None:
            return self.end.outcome
        if not self.receiver.ready.done():
            return StreamOutcome("failed", f"not ready in {seconds:g} s")
        self.ready_seconds, self.end.remark = time.monotonic() - began, None
        return None

    async def close(self) -> None:
        """As a good client does; also where it was never open."""
        if self._listening is not None:
            self._listening.cancel()
        if self.socket is not None:
            with contextlib.suppress(ConnectionClosed, OSError):
                await self.socket.close()


async def wait_for_first(*futures: asyncio.Future[Any], seconds: float | None = None) -> None:
    """Wait until one of these is done, or for `seconds`; none of them is cancelled."""
    await asyncio.wait(set(futures), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _address(endpoint: Endpoint, client: Client, seconds: float) -> Address:
    """Where to connect, asked for anew by each stream where there is a `/connect`."""
    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    url, replica, remark = endpoint.url, None, None
    if endpoint.two_step:
        url, is_same_host = await ask_connect(url, headers, seconds)
        replica = urlsplit(url).netloc
        if headers and not is_same_host:
            headers, remark = {}, f"{TOKEN_KEPT}: /connect names another host, {replica}"
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode(client.query())]))
    return Address(urlunsplit(parts._replace(query=query)), headers, replica, remark)


def _connecting(to: Address, seconds: float) -> connect:
    """The connection, to be awaited; it may take so many seconds to open."""
    return connect(
        to.url,
        ssl=tls_trust.context_for(to.url),
        additional_headers=to.headers,
        compression=None,  # sound does not compress, and it would be the generator's time
        max_size=MAX_MESSAGE_BYTES,
        ping_interval=None,  # the stream itself shows whether it lives
        proxy=None,
        open_timeout=seconds,
        close_timeout=_CLOSE_SECONDS,
    )


def _upgrade_ready(connection: ClientConnection) -> StreamReady:
    """What the answer to the upgrade says of who answered; a whisper-ops server says it in every dialect."""
    headers = connection.response.headers if connection.response is not None else {}

    def name(header: str) -> str | None:
        text = headers.get(header, "")
        return text if 0 < len(text) <= _LONGEST_NAME and text.isprintable() else None

    gpus = headers.get(wire.GPUS_HEADER, "")
    return StreamReady(
        connection_id=name(wire.CONNECTION_HEADER),
        server_id=name(wire.SERVER_HEADER),
        total_gpus=int(gpus) if gpus.isdecimal() and 0 < len(gpus) <= 4 else None,
    )


def connect_failure(error: Exception, seconds: float) -> StreamOutcome:
    """What it means that a stream was not connected within `seconds`."""
    match error:
        case InvalidStatus():
            code = error.response.status_code
            outcome = "refused" if code in {429, 503} else "failed"
            return StreamOutcome(outcome, f"HTTP {code} instead of a WebSocket", wants_token=code == _UNAUTHORIZED)
        case NoTokenError():
            return StreamOutcome("failed", str(error), wants_token=True)
        case ServerFullError():
            return StreamOutcome("refused", str(error))
        case TimeoutError():
            return StreamOutcome("failed", f"no connection in {seconds:g} s")
    return StreamOutcome("failed", tls_trust.untrusted("the server", error) or f"cannot connect: {error}")
