"""Connections that `check` opens to see how a server takes them: the load test's own, without any speech."""

import asyncio
import contextlib
import time
from urllib.parse import urlsplit

import numpy as np
from websockets.exceptions import ConnectionClosed

from capacity.corpus.clips import RATE
from capacity.loadgen.connection import StreamConnection, wait_for_first
from capacity.loadgen.recording import StreamRecording
from capacity.loadgen.stream_outcome import TRY_AGAIN_LATER, StreamOutcome
from capacity.loadtest.target import Target, with_protocol
from whisper_ops.known_software import WHISPERLIVEKIT

DEADLINE_SECONDS = 30.0
TRY_SECONDS = 5.0
_READY_BEFORE_ADMISSION = {WHISPERLIVEKIT}
"""Its servers say that they are ready to everybody, and then look whether there is room."""
_ADMISSION_SECONDS = 0.3
_CLOSE_SECONDS = 5.0
_PROTOCOLS = ("native", WHISPERLIVEKIT)
"""Those that live beside a server's published endpoints, on the same port."""
_CHUNK_SECONDS = 0.1


class ProbeConnection:
    """One connection, admitted or not."""

    def __init__(self, target: Target) -> None:
        self._protocol = target.protocol
        self._connection = StreamConnection(target.endpoint, StreamRecording(_CHUNK_SECONDS))
        self._failure: StreamOutcome | None = None

    @classmethod
    async def open(cls, target: Target, seconds: float = DEADLINE_SECONDS) -> "ProbeConnection":
        """Connect and wait until the server is ready, `seconds` at most; what goes wrong is in `refusal` or `fault`."""
        probe = cls(target)
        probe._failure = await probe._connection.open(seconds)
        await probe._wait_for_admission()
        return probe

    async def _wait_for_admission(self) -> None:
        connection = self._connection
        if self._failure is None and self._protocol in _READY_BEFORE_ADMISSION:
            await wait_for_first(connection.end.reached, seconds=_ADMISSION_SECONDS)
            self._failure = connection.end.outcome
        if self._failure is not None and connection.socket is not None:
            # Where a dialect has no word for a refusal, it comes as an error, and then this close code.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.socket.wait_closed(), _ADMISSION_SECONDS)
            if connection.socket.close_code == TRY_AGAIN_LATER:
                self._failure = self._failure._replace(outcome="refused")

    @property
    def connect_seconds(self) -> float | None:
        """Until the WebSocket was open; None: it never was."""
        return self._connection.connect_seconds

    @property
    def ready_seconds(self) -> float | None:
        """Until the server took sound; None: it did not admit the connection."""
        return self._connection.ready_seconds if self._failure is None else None

    @property
    def gpu_id(self) -> int | None:
        """On which of its GPUs the server put it, where it says."""
        return self._connection.server.gpu_id

    @property
    def server_id(self) -> str | None:
        """Which server process took it, where it says."""
        return self._connection.server.server_id

    @property
    def refusal(self) -> str | None:
        """What the server said that had no room; None: it did not say so."""
        refused = self._failure is not None and self._failure.outcome == "refused"
        return self._failure.error or "refused" if refused and self._failure else None

    @property
    def fault(self) -> str | None:
        """Anything else that went wrong."""
        if self._failure is None or self._failure.outcome == "refused":
            return None
        return self._failure.error or self._failure.outcome

    async def close(self) -> None:
        """As a good client does."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._connection.close(), _CLOSE_SECONDS)

    async def hold(self, seconds: float) -> float | None:
        """Send silence in real time for so long; the age in seconds at which the connection was cut, else None."""
        connection, began = self._connection, time.monotonic()
        assert connection.socket is not None
        silence = connection.client.audio(np.zeros(round(RATE * _CHUNK_SECONDS), np.int16))
        due = began
        while time.monotonic() - began < seconds:
            try:
                await connection.socket.send(silence)
            except ConnectionClosed:
                return time.monotonic() - began
            due += _CHUNK_SECONDS
            await wait_for_first(connection.end.reached, seconds=max(0.0, due - time.monotonic()))
            if connection.end.outcome is not None:
                return time.monotonic() - began
        return None


async def with_detected_protocol(target: Target) -> Target:
    """The same server in a protocol that it speaks, found by trying, where it says of itself that it is not ours.

    The one that was chosen is tried first; where no other fits it stays.
    """
    for protocol in (target.protocol, *(name for name in _PROTOCOLS if name != target.protocol)):
        tried = with_protocol(target, protocol)
        probe = await ProbeConnection.open(tried, TRY_SECONDS)
        await probe.close()
        if probe.ready_seconds is not None or probe.refusal is not None:
            return tried
    return target


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
