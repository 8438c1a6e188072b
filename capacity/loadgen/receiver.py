"""What a stream hears: the server's messages, and the text they show, noted in the track as it came."""

import asyncio
import time

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from capacity.loadgen.messages import LevelOrder
from capacity.loadgen.recording import MARGIN_SECONDS, Track
from capacity.loadgen.stream_outcome import StreamEnd, lost
from capacity.loadgen.word_latency import TextUpdate
from capacity.protocols import Client, StreamDone, StreamFailed, StreamReady, StreamRefused, TextShown

_REMEMBERED = 200
"""Characters of committed text that following the stream needs."""
_WORDS_A_SECOND = 5.0


class Receiver:
    """Listens to one connection."""

    def __init__(
        self, level: LevelOrder, client: Client, track: Track, end: StreamEnd, spoken_out: asyncio.Event
    ) -> None:
        self._level = level
        self._client = client
        self._track = track
        self._end = end
        self._spoken_out = spoken_out
        self._committed = ""  # the end of it
        self.ready: asyncio.Future[StreamReady] = asyncio.get_running_loop().create_future()
        """Done when the server takes sound."""
        self.changes = 0
        """How many times the text changed."""
        self.heard_at: float | None = None
        """When it changed last, on the monotonic clock."""

    @property
    def text(self) -> str:
        """The end of what is shown."""
        return f"{self._committed} {self._last.tail}"

    @property
    def _last(self) -> TextUpdate:
        return self._track.updates[-1] if self._track.updates else TextUpdate(0.0, "", "")

    async def listen(self, connection: ClientConnection) -> None:
        """Until the connection closes, or the text is complete."""
        try:
            async for message in connection:
                self._read(message, time.monotonic())
            self._closed_well()
        except ConnectionClosed as closed:
            self._end.set(*lost(closed))

    def _closed_well(self) -> None:
        if self._spoken_out.is_set():
            self._end.set("done")
        else:
            self._end.set("cut", "the server closed the connection while the client was speaking")

    def _read(self, message: str | bytes, at: float) -> None:
        match self._client.read(message):
            case StreamReady() as ready:
                if not self.ready.done():
                    self.ready.set_result(ready)
            case TextShown(committed, tail):
                self._show(TextUpdate(at, committed, tail))
            case StreamRefused(reason):
                self._end.set("refused", reason)
            case StreamFailed(reason):
                self._end.set("failed", reason)
            case StreamDone():
                self._closed_well()
            case None:
                return

    def _show(self, update: TextUpdate) -> None:
        if self._level.block_seconds:
            # A server that sends all it ever heard again and again would fill memory in hours.
            most = int(_WORDS_A_SECOND * (2 * self._level.block_seconds + MARGIN_SECONDS))
            update = update._replace(tail=" ".join(update.tail.split()[-most:]))
        if not update.committed and update.tail == self._last.tail:
            return
        self.changes += 1
        self.heard_at = update.at
        self._committed = f"{self._committed} {update.committed}"[-_REMEMBERED:]
        self._track.updates.append(update)
