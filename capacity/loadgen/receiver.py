"""What a stream receives: the server's messages, and the text they show, recorded as it came."""

import asyncio
import time

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from capacity.loadgen.recording import MARGIN_SECONDS, StreamRecording
from capacity.loadgen.stream_outcome import StreamEnd, StreamOutcome, connection_lost
from capacity.loadgen.word_latency import TextUpdate
from capacity.protocols import Client, StreamDone, StreamFailed, StreamReady, StreamRefused, TextShown

_REMEMBERED = 200
"""Characters of committed text that following the stream needs."""
_WORDS_A_SECOND = 5.0


class Receiver:
    """Reads one connection."""

    def __init__(self, client: Client, recording: StreamRecording, end: StreamEnd, block_seconds: float | None) -> None:
        """`block_seconds`: of a level in blocks, beyond which text is forgotten; None: all is kept."""
        self._client = client
        self._recording = recording
        self._end = end
        self._block_seconds = block_seconds
        self._committed = ""  # the end of it
        self.ready: asyncio.Future[StreamReady] = asyncio.get_running_loop().create_future()
        """Done when the server takes sound."""
        self.all_sent = asyncio.Event()
        """To be set when the sound is over: from then on a closed connection is a good end."""
        self.changes = 0
        """How many times the text changed."""
        self.changed_at: float | None = None
        """When it changed last, on the monotonic clock."""

    @property
    def text(self) -> str:
        """The end of what is shown."""
        return f"{self._committed} {self._last.tail}"

    @property
    def _last(self) -> TextUpdate:
        return self._recording.updates[-1] if self._recording.updates else TextUpdate(0.0, "", "")

    async def listen(self, connection: ClientConnection) -> None:
        """Until the connection closes, or the text is complete."""
        try:
            async for message in connection:
                self._read(message, time.monotonic())
            self._over()
        except ConnectionClosed as closed:
            self._end.set(connection_lost(closed))

    def _over(self) -> None:
        if self.all_sent.is_set():
            self._end.set(StreamOutcome("done"))
        else:
            self._end.set(StreamOutcome("cut", "the server closed the connection while the client was speaking"))

    def _read(self, message: str | bytes, at: float) -> None:
        match self._client.read(message):
            case StreamReady() as ready:
                if not self.ready.done():
                    self.ready.set_result(ready)
            case TextShown(committed, tail):
                self._show(TextUpdate(at, committed, tail))
            case StreamRefused(reason):
                self._end.set(StreamOutcome("refused", reason))
            case StreamFailed(reason):
                self._end.set(StreamOutcome("failed", reason))
            case StreamDone():
                self._over()
            case None:
                return

    def _show(self, update: TextUpdate) -> None:
        if self._block_seconds:
            # A server that sends all it ever heard again and again would fill memory in hours.
            most = int(_WORDS_A_SECOND * (2 * self._block_seconds + MARGIN_SECONDS))
            update = update._replace(tail=" ".join(update.tail.split()[-most:]))
        if not update.committed and update.tail == self._last.tail:
            return
        self.changes += 1
        self.changed_at = update.at
        self._committed = f"{self._committed} {update.committed}"[-_REMEMBERED:]
        self._recording.updates.append(update)
