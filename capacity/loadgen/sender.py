"""What a stream says: its playlists one after the other, each chunk sent when it is due."""

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
from capacity.loadgen.recording import EPSILON_SECONDS, StreamRecording
from capacity.loadgen.stream_outcome import StreamEnd, StreamOutcome
from capacity.protocols import Client

PLAYLIST_SECONDS = 300.0
"""So much of what will be said is laid out at once. Whole utterances fill it, so that its end is a longer pause."""
_STUCK_SECONDS = 60.0
"""So much unsent sound in our own buffer means that the server stopped reading."""


class Sender:
    """Speaks into one connection, and records what it said and when each chunk went out."""

    def __init__(
        self,
        order: StreamOrder,
        level: LevelOrder,
        corpus: Corpus,
        recording: StreamRecording,
        end: StreamEnd,
        all_sent: asyncio.Event,
    ) -> None:
        """`all_sent` is set when all is said, or the stream ended."""
        self._order = order
        self._level = level
        self._corpus = corpus
        self._recording = recording
        self._end = end
        self._all_sent = all_sent
        self._chunks: Iterator[Samples] = iter(())
        self.begun = 0.0
        """On the monotonic clock; 0 before."""
        self.live_lag: LiveLag | None = None
        """Of what is being said now."""

    def start(self, connection: ClientConnection, client: Client, pacer: Pacer) -> None:
        """Begin; the pacer does the rest."""
        self.begun = time.monotonic()
        self._chunks = self._playlists()

        def send(lateness: float) -> bool:
            return self._send(connection, client, lateness)

        pacer.add(self.begun + self._level.chunk_seconds, self._level.chunk_seconds, send)

    def _playlists(self) -> Iterator[Samples]:
        """The sound of the whole stream, made bit by bit, since hours of it would fill memory."""
        chunk, duty = self._level.chunk_seconds, self._level.duty_cycle
        at, clip = self.begun, self._order.first_clip
        while (left := self._order.stop_at - at) > chunk / 2:
            seconds = max(1, math.ceil(min(left, PLAYLIST_SECONDS) / chunk - EPSILON_SECONDS)) * chunk
            playlist = make_playlist(self._corpus.clips, clip, seconds, duty)
            self._recording.spoken += playlist.spoken(at, chunk, clip)
            self.live_lag = LiveLag(self._recording.spoken)
            yield from playlist.chunks(round(chunk * RATE))
            at += seconds
            clip += sum(part.clip is not None for part in playlist.parts)

    def _send(self, connection: ClientConnection, client: Client, lateness: float) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None or self._end.reached.done() or connection.protocol.state is not State.OPEN:
            self._all_sent.set()
            return False
        data = client.audio(chunk)
        # `send` would wait while a server does not read, and hold up every other stream.
        connection.protocol.send_binary(data)
        connection.send_data()
        self._recording.bytes_sent += len(data)
        self._recording.lateness.append(lateness)
        self._recording.sent.append(time.monotonic())
        self._recording.chunks_sent += 1
        if connection.transport.get_write_buffer_size() > _STUCK_SECONDS * len(data) / self._level.chunk_seconds:
            self._end.set(StreamOutcome("failed", f"the server stopped reading {_STUCK_SECONDS:g} s of sound ago"))
        return True
