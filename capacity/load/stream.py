"""One speaking client: connect, wait until the server is ready, speak in real time, listen, end, and be measured."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException
from websockets.protocol import State

from capacity.clients import PROTOCOLS, Client, Done, Failed, Ready, Refused, Shown
from capacity.load.follow import Follower
from capacity.load.orders import LevelOrder, StreamOrder, StreamResult
from capacity.load.pace import Wheel
from capacity.load.track import ALWAYS, Track, Window, measure
from capacity.load.two_step import NoRoomError, handed_out
from capacity.load.words import Update
from capacity.speech.audio import Samples
from capacity.speech.corpus import RATE, Corpus
from capacity.speech.playlist import make_playlist

_STUCK_SECONDS = 60.0
"""So much unsent sound in our own buffer means that the server stopped reading."""
_REMEMBERED = 200
"""Characters of committed text that following the stream needs."""
MARGIN_SECONDS = 30.0
"""What a stream of a level in blocks remembers from before the block that is measured."""
_WORDS_A_SECOND = 5.0
REEL_SECONDS = 300.0
"""So much of what will be said is laid out at once. Whole utterances fill it, so that its end is a longer pause."""
_HAIR = 1e-6
_SETTLED_SECONDS = 3.0
"""Text that is complete and has not changed for this long after the end of the sound will not change."""
_GIVEN_UP_SECONDS = 10.0
"""Where words are missing: a server that is behind may take long from one text to the next."""


class Ending(NamedTuple):
    """How a stream ended before its time, or well."""

    outcome: str
    error: str | None = None


class Speaker:
    """One stream of a level. `run` never raises for what a server does; the result says it."""

    def __init__(self, order: StreamOrder, level: LevelOrder, corpus: Corpus, wheel: Wheel) -> None:
        self._order = order
        self._level = level
        self._corpus = corpus
        self._wheel = wheel
        self._client: Client = PROTOCOLS[level.protocol]()
        self._track = Track()
        self._ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._over: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._spoken_out = asyncio.Event()
        self._follower: Follower | None = None
        self._committed = ""  # the end of it
        self._chunks: Iterator[Samples] = iter(())
        self._begun = 0.0
        self._connect_seconds: float | None = None
        self._ready_seconds: float | None = None
        self._final_at: float | None = None
        self._ended_at: float | None = None
        self._bytes = 0
        self._replica: str | None = None
        self._changes = 0
        self._over_at: float | None = None

    # --- what the live table reads -------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the server took it."""
        return self._ready_seconds is not None

    @property
    def is_live(self) -> bool:
        """Whether it is speaking now."""
        return self.is_ready and not self._spoken_out.is_set() and not self._over.done()

    @property
    def has_failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return self._over.done() and self._over.result().outcome not in {"done", "stopped"}

    @property
    def updates(self) -> int:
        """How many times its text changed."""
        return self._changes

    def behind(self, now: float) -> float | None:
        """About how many seconds its text is behind its speech; None when it is not speaking."""
        if not self.is_live or self._follower is None:
            return None
        return self._follower.behind(f"{self._committed} {self._last.tail}", now)

    @property
    def last_lateness(self) -> float:
        """Of its last chunk, in seconds."""
        return self._track.lateness[-1] if self._track.lateness else 0.0

    @property
    def was_stopped(self) -> bool:
        """Whether the load test itself ended it, early or in its time."""
        outcome = self._over.result().outcome if self._over.done() else ""
        return outcome == "stopped" or (outcome == "done" and self._spoken_out.is_set())

    @property
    def _last(self) -> Update:
        return self._track.updates[-1] if self._track.updates else Update(0.0, "", "")

    # --- its life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live through the stream."""
        await asyncio.sleep(max(0.0, self._order.start_at - time.monotonic()))
        began = time.monotonic()
        try:
            ending = await self._live(began)
        except asyncio.CancelledError:
            ending = Ending("stopped")
        self._end(*ending)

    async def _live(self, began: float) -> Ending:
        try:
            url, headers = await self._address()
            async with connect(
                url,
                additional_headers=headers,
                compression=None,  # sound does not compress, and it would be the generator's time
                max_size=None,
                ping_interval=None,  # the stream itself shows whether it lives
                proxy=None,
                open_timeout=self._level.setup_seconds,
                close_timeout=2,
            ) as connection:
                self._connect_seconds = time.monotonic() - began
                return await self._converse(connection, began)
        except InvalidStatus as error:
            code = error.response.status_code
            return Ending("refused" if code in {429, 503} else "failed", f"HTTP {code} instead of a WebSocket")
        except NoRoomError as error:
            return Ending("refused", str(error))
        except TimeoutError:
            return Ending("failed", f"no connection in {self._level.setup_seconds:g} s")
        except (OSError, InvalidHandshake, InvalidURI, WebSocketException) as error:
            return Ending("failed", f"cannot connect: {error}")

    async def _address(self) -> tuple[str, dict[str, str]]:
        headers = {"Authorization": f"Bearer {self._level.token}"} if self._level.token else {}
        url = self._level.url
        if self._level.two_step:
            url = await handed_out(url, headers, self._level.setup_seconds)
            self._replica = urlsplit(url).netloc
        parts = urlsplit(url)
        query = "&".join(filter(None, [parts.query, urlencode(self._client.query())]))
        return urlunsplit(parts._replace(query=query)), headers

    async def _converse(self, connection: ClientConnection, began: float) -> Ending:
        reader = asyncio.create_task(self._listen(connection))
        try:
            for message in self._client.hello():
                await connection.send(message)
            deadline = began + self._level.setup_seconds
            await _first(self._ready, self._over, timeout=deadline - time.monotonic())
            if self._over.done():
                return self._over.result()
            if not self._ready.done():
                return Ending("failed", f"not ready in {self._level.setup_seconds:g} s")
            self._ready_seconds = time.monotonic() - began
            self._speak(connection)
            spoken = asyncio.ensure_future(self._spoken_out.wait())
            await _first(spoken, self._over)
            spoken.cancel()
            return self._over.result() if self._over.done() else await self._finish(connection)
        except ConnectionClosed as closed:
            return _closed(closed)
        finally:
            reader.cancel()

    def _speak(self, connection: ClientConnection) -> None:
        level = self._level
        self._begun = time.monotonic()
        self._chunks = self._reels()

        def send(lateness: float) -> bool:
            return self._send_chunk(connection, lateness)

        self._wheel.add(self._begun + level.chunk_seconds, level.chunk_seconds, send)

    def _reels(self) -> Iterator[Samples]:
        """The sound of the whole stream, made bit by bit, since hours of it would fill memory."""
        chunk, duty = self._level.chunk_seconds, self._level.duty_cycle
        at, clip = self._begun, self._order.first_clip
        while (left := self._order.stop_at - at) > chunk / 2:
            seconds = max(1, math.ceil(min(left, REEL_SECONDS) / chunk - _HAIR)) * chunk
            playlist = make_playlist(self._corpus.clips, clip, seconds, duty)
            self._track.spoken += playlist.spoken(at, chunk)
            self._follower = Follower(self._track.spoken)
            yield from playlist.chunks(round(chunk * RATE))
            at += seconds
            clip += sum(part.clip is not None for part in playlist.parts)

    def _send_chunk(self, connection: ClientConnection, lateness: float) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None or self._over.done() or connection.protocol.state is not State.OPEN:
            self._spoken_out.set()
            return False
        data = self._client.audio(chunk)
        # `send` would wait while a server does not read, and hold up every other stream.
        connection.protocol.send_binary(data)
        connection.send_data()
        self._bytes += len(data)
        self._track.lateness.append(lateness)
        self._track.sent.append(time.monotonic())
        self._track.chunks_sent += 1
        if connection.transport.get_write_buffer_size() > _STUCK_SECONDS * len(data) / self._level.chunk_seconds:
            self._end("failed", f"the server stopped reading {_STUCK_SECONDS:g} s of sound ago")
        return True

    async def _finish(self, connection: ClientConnection) -> Ending:
        self._ended_at = time.monotonic()
        deadline = self._ended_at + self._level.drain_seconds
        if not self._client.flushes_tail:
            await self._settle(deadline)
        for message in self._client.ending():
            await connection.send(message)
        await asyncio.wait({self._over}, timeout=max(0.5, deadline - time.monotonic()))
        if self._over.done():
            return self._over.result()
        if not self._client.flushes_tail:
            return Ending("done")
        return Ending("failed", f"no end of text {self._level.drain_seconds:g} s after the sound")

    async def _settle(self, deadline: float) -> None:
        while time.monotonic() < deadline and not self._over.done():
            quiet = time.monotonic() - max(self._last.at, self._ended_at or 0.0)
            text = f"{self._committed} {self._last.tail}"
            behind = self._follower.behind(text, time.monotonic()) if self._follower else 0.0
            if quiet >= (_SETTLED_SECONDS if not behind else _GIVEN_UP_SECONDS):
                return
            await asyncio.sleep(0.1)

    async def _listen(self, connection: ClientConnection) -> None:
        try:
            async for message in connection:
                self._read(message, time.monotonic())
            self._closed_well()
        except ConnectionClosed as closed:
            self._end(*_closed(closed))

    def _closed_well(self) -> None:
        if self._spoken_out.is_set():
            self._end("done")
        else:
            self._end("cut", "the server closed the connection while the client was speaking")

    def _read(self, message: str | bytes, at: float) -> None:
        match self._client.read(message):
            case Ready() as ready:
                if not self._ready.done():
                    self._ready.set_result(ready)
            case Shown(committed, tail):
                self._show(Update(at, committed, tail))
            case Refused(reason):
                self._end("refused", reason)
            case Failed(reason):
                self._end("failed", reason)
            case Done():
                self._closed_well()
            case None:
                return

    def _show(self, update: Update) -> None:
        if self._level.block_seconds:
            # A server that sends all it ever heard again and again would fill memory in hours.
            most = int(_WORDS_A_SECOND * (2 * self._level.block_seconds + MARGIN_SECONDS))
            update = update._replace(tail=" ".join(update.tail.split()[-most:]))
        if not update.committed and update.tail == self._last.tail:
            return
        self._changes += 1
        self._final_at = update.at
        self._committed = f"{self._committed} {update.committed}"[-_REMEMBERED:]
        self._track.updates.append(update)

    def _end(self, outcome: str, error: str | None = None) -> None:
        if not self._over.done():
            self._over_at = time.monotonic()
            self._over.set_result(Ending(outcome, error))

    # --- its measurement -----------------------------------------------------------------------------

    def lived_in(self, window: Window) -> bool:
        """Whether it was there in any of the time."""
        return self._order.start_at < window.until and (self._over_at is None or self._over_at >= window.since)

    def forget(self, before: float) -> None:
        """Drop what was measured."""
        self._track.forget(before)

    def measured(self, window: Window, scored: Window = ALWAYS) -> Callable[[], StreamResult]:
        """What measures the stream as it is now, to be called when there is time, from any thread.

        Args:
            window: where latencies count, and how many streams were live.
            scored: where word errors, messages and bytes count.
        """
        # After a cut only what was sent can have been heard.
        sound = self._track.chunks_sent * self._level.chunk_seconds
        track = self._track.until(self._begun + sound + _HAIR)
        ending = Ending("done")
        if self._over_at is not None and (self._over_at in scored or self._over_at < scored.since):
            ending = self._over.result()
        bytes_a_chunk = self._bytes / max(1, track.chunks_sent)
        tail_seconds = self._tail_seconds() if ending.outcome == "done" else None
        ready = self._ready.result() if self._ready.done() and not self._ready.cancelled() else Ready()
        return lambda: self._result(track, window, scored, ending, ready.gpu_id, bytes_a_chunk, tail_seconds)

    def _result(
        self,
        track: Track,
        window: Window,
        scored: Window,
        ending: Ending,
        gpu_id: int | None,
        bytes_a_chunk: float,
        tail_seconds: float | None,
    ) -> StreamResult:
        chunk, keep_text, text = self._level.chunk_seconds, self._level.keep_text, track.text
        found = measure(track, window, scored)
        if ending.outcome == "done" and track.spoken and not text:
            ending = Ending("silent", "not a word came back")
        sent = [at for at in track.sent if at in scored]
        shown = [update for update in track.updates if update.at in scored]
        return StreamResult(
            number=self._order.number,
            outcome=ending.outcome,
            error=ending.error,
            gpu_id=gpu_id,
            replica=self._replica,
            connect_seconds=self._connect_seconds,
            ready_seconds=self._ready_seconds,
            end_to_final_seconds=tail_seconds,
            sent_seconds=len(sent) * chunk,
            live_seconds=sum(at in window for at in track.sent) * chunk,
            speech_words=found.words_said,
            latencies=found.latencies,
            score=found.score,
            clip_errors=found.clip_errors,
            partials=sum(bool(update.tail) for update in shown),
            finals=sum(bool(update.committed) for update in shown),
            bytes_sent=round(bytes_a_chunk * len(sent)),
            lateness=tuple(late for at, late in zip(track.sent, track.lateness, strict=True) if at in scored),
            text=text if keep_text else None,
            reference=" ".join(word.word for word in track.spoken) if keep_text else None,
        )

    def _tail_seconds(self) -> float | None:
        if self._ended_at is None or self._final_at is None:
            return None
        return max(0.0, self._final_at - self._ended_at)


async def _first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:  # noqa: ASYNC109  # it is a wait
    await asyncio.wait(set(futures), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


def _closed(closed: ConnectionClosed) -> Ending:
    code = closed.rcvd.code if closed.rcvd else None
    reason = closed.rcvd.reason if closed.rcvd else ""
    if code == 1013:
        return Ending("refused", reason or "closed with 1013: try again later")
    return Ending("cut", f"connection lost ({code or 'no close code'}{': ' + reason if reason else ''})")
