"""What a stream says: its sound laid out reel by reel, and each chunk of it sent when it is due."""

import asyncio
import math
import time
from collections.abc import Iterator

from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

from capacity.corpus.audio_files import Samples
from capacity.corpus.clips import RATE, Corpus
from capacity.corpus.playlist import make_playlist
from capacity.loadgen.live_lag import LiveLag
from capacity.loadgen.messages import LevelOrder, StreamOrder
from capacity.loadgen.pacer import Pacer
from capacity.loadgen.recording import HAIR, Track
from capacity.loadgen.stream_outcome import StreamEnd
from capacity.protocols import Client

REEL_SECONDS = 300.0
"""So much of what will be said is laid out at once. Whole utterances fill it, so that its end is a longer pause."""
_STUCK_SECONDS = 60.0
"""So much unsent sound in our own buffer means that the server stopped reading."""


class Sender:
    """Speaks into one connection, and notes in the track what it said and when each chunk went out."""

    def __init__(self, order: StreamOrder, level: LevelOrder, corpus: Corpus, track: Track, end: StreamEnd) -> None:
        self._order = order
        self._level = level
        self._corpus = corpus
        self._track = track
        self._end = end
        self._chunks: Iterator[Samples] = iter(())
        self.begun = 0.0
        """On the monotonic clock; 0 before."""
        self.bytes = 0
        self.is_out = asyncio.Event()
        """Set when all is said, or the stream ended."""
        self.follower: LiveLag | None = None
        """Of what is being said now."""

    def speak(self, connection: ClientConnection, client: Client, wheel: Pacer) -> None:
        """Begin; the wheel does the rest."""
        self.begun = time.monotonic()
        self._chunks = self._reels()

        def send(lateness: float) -> bool:
            return self._send(connection, client, lateness)

        wheel.add(self.begun + self._level.chunk_seconds, self._level.chunk_seconds, send)

    def _reels(self) -> Iterator[Samples]:
        """The sound of the whole stream, made bit by bit, since hours of it would fill memory."""
        chunk, duty = self._level.chunk_seconds, self._level.duty_cycle
        at, clip = self.begun, self._order.first_clip
        while (left := self._order.stop_at - at) > chunk / 2:
            seconds = max(1, math.ceil(min(left, REEL_SECONDS) / chunk - HAIR)) * chunk
            playlist = make_playlist(self._corpus.clips, clip, seconds, duty)
            self._track.spoken += playlist.spoken(at, chunk, clip)
            self.follower = LiveLag(self._track.spoken)
            yield from playlist.chunks(round(chunk * RATE))
            at += seconds
            clip += sum(part.clip is not None for part in playlist.parts)

    def _send(self, connection: ClientConnection, client: Client, lateness: float) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None or self._end.waited.done() or connection.protocol.state is not State.OPEN:
            self.is_out.set()
            return False
        data = client.audio(chunk)
        # `send` would wait while a server does not read, and hold up every other stream.
        connection.protocol.send_binary(data)
        connection.send_data()
        self.bytes += len(data)
        self._track.lateness.append(lateness)
        self._track.sent.append(time.monotonic())
        self._track.chunks_sent += 1
        if connection.transport.get_write_buffer_size() > _STUCK_SECONDS * len(data) / self._level.chunk_seconds:
            self._end.set("failed", f"the server stopped reading {_STUCK_SECONDS:g} s of sound ago")
        return True
