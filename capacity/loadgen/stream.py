"""One speaking client: connect, wait until the server is ready, speak in real time, listen, end, and be measured.

Each part is a module of its own: `door` lets it in, `voice` speaks, `ear` listens, `ending` says how it ended, and
`result` measures what is left. Here is the order of it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from capacity.corpus.clips import Corpus
from capacity.loadgen.connection import SHUT, address, connecting, shut, told_on_upgrade
from capacity.loadgen.messages import LevelOrder, StreamOrder, StreamResult
from capacity.loadgen.pacer import Pacer
from capacity.loadgen.receiver import Receiver
from capacity.loadgen.recording import ALWAYS, HAIR, MeasuredWindow, Track
from capacity.loadgen.sender import Sender
from capacity.loadgen.stream_outcome import StreamEnd, StreamOutcome, lost
from capacity.loadgen.stream_result import Remains
from capacity.protocols import PROTOCOLS, Client, StreamReady

_SETTLED_SECONDS = 3.0
"""Text that is complete and has not changed for this long after the end of the sound will not change."""
_GIVEN_UP_SECONDS = 10.0
"""Where words are missing: a server that is behind may take long from one text to the next."""


class LoadStream:
    """One stream of a level. `run` never raises for what a server does; the result says it."""

    def __init__(self, order: StreamOrder, level: LevelOrder, corpus: Corpus, wheel: Pacer) -> None:
        self._order = order
        self._level = level
        self._wheel = wheel
        self._client: Client = PROTOCOLS[level.protocol]()
        self._track = Track()
        self._end = StreamEnd()
        self._voice = Sender(order, level, corpus, self._track, self._end)
        self._ear = Receiver(level, self._client, self._track, self._end, self._voice.is_out)
        self._connect_seconds: float | None = None
        self._ready_seconds: float | None = None
        self._ended_at: float | None = None
        self._replica: str | None = None
        self._upgrade = StreamReady()
        """What the answer to the upgrade said."""

    # --- what the live table reads -------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the server took it."""
        return self._ready_seconds is not None

    @property
    def is_live(self) -> bool:
        """Whether it is speaking now."""
        return self.is_ready and not self._voice.is_out.is_set() and self._end.ending is None

    @property
    def has_failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return self._end.ending is not None and self._end.ending.outcome not in {"done", "stopped"}

    @property
    def updates(self) -> int:
        """How many times its text changed."""
        return self._ear.changes

    def behind(self, now: float) -> float | None:
        """About how many seconds its text is behind its speech; None when it is not speaking."""
        if not self.is_live or self._voice.follower is None:
            return None
        return self._voice.follower.behind(self._ear.text, now)

    @property
    def last_lateness(self) -> float:
        """Of its last chunk, in seconds."""
        return self._track.lateness[-1] if self._track.lateness else 0.0

    @property
    def was_stopped(self) -> bool:
        """Whether the load test itself ended it, early or in its time."""
        outcome = self._end.ending.outcome if self._end.ending else ""
        return outcome == "stopped" or (outcome == "done" and self._voice.is_out.is_set())

    # --- its life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live through the stream."""
        await asyncio.sleep(max(0.0, self._order.start_at - time.monotonic()))
        began = time.monotonic()
        try:
            ending = await self._live(began)
        except asyncio.CancelledError:
            ending = StreamOutcome("stopped")
        self._end.set(*ending)

    async def _live(self, began: float) -> StreamOutcome:
        seconds = self._level.setup_seconds
        try:
            to = await address(self._level, self._client)
            self._replica, self._end.remark = to.replica, to.remark
            async with connecting(to, seconds) as connection:
                self._connect_seconds = time.monotonic() - began
                self._upgrade = told_on_upgrade(connection)
                return await self._converse(connection, began)
        except SHUT as error:
            return shut(error, seconds)

    async def _converse(self, connection: ClientConnection, began: float) -> StreamOutcome:
        reader = asyncio.create_task(self._ear.listen(connection))
        try:
            for message in self._client.hello():
                await connection.send(message)
            deadline = began + self._level.setup_seconds
            await _first(self._ear.ready, self._end.waited, timeout=deadline - time.monotonic())
            if self._end.waited.done():
                return self._end.waited.result()
            if not self._ear.ready.done():
                return StreamOutcome("failed", f"not ready in {self._level.setup_seconds:g} s")
            self._ready_seconds, self._end.remark = time.monotonic() - began, None
            self._voice.speak(connection, self._client, self._wheel)
            spoken = asyncio.ensure_future(self._voice.is_out.wait())
            await _first(spoken, self._end.waited)
            spoken.cancel()
            return self._end.waited.result() if self._end.waited.done() else await self._finish(connection)
        except ConnectionClosed as closed:
            return lost(closed)
        finally:
            reader.cancel()

    async def _finish(self, connection: ClientConnection) -> StreamOutcome:
        self._ended_at = time.monotonic()
        deadline = self._ended_at + self._level.drain_seconds
        if not self._client.flushes_tail:
            await self._settle(self._ended_at, deadline)
        for message in self._client.ending():
            await connection.send(message)
        await asyncio.wait({self._end.waited}, timeout=max(0.5, deadline - time.monotonic()))
        if self._end.waited.done():
            return self._end.waited.result()
        if not self._client.flushes_tail:
            return StreamOutcome("done")
        return StreamOutcome("failed", f"no end of text {self._level.drain_seconds:g} s after the sound")

    async def _settle(self, ended_at: float, deadline: float) -> None:
        follower = self._voice.follower
        while (now := time.monotonic()) < deadline and self._end.ending is None:
            quiet = now - max(self._ear.heard_at or 0.0, ended_at)
            behind = follower.behind(self._ear.text, now) if follower else 0.0
            if quiet >= (_SETTLED_SECONDS if not behind else _GIVEN_UP_SECONDS):
                return
            await asyncio.sleep(0.1)

    # --- its measurement -----------------------------------------------------------------------------

    def lived_in(self, window: MeasuredWindow) -> bool:
        """Whether it was there in any of the time."""
        return self._order.start_at < window.until and (self._end.at is None or self._end.at >= window.since)

    def forget(self, before: float) -> None:
        """Drop what was measured."""
        self._track.forget(before)

    def measured(self, window: MeasuredWindow, scored: MeasuredWindow = ALWAYS) -> Callable[[], StreamResult]:
        """What measures the stream as it is now, to be called when there is time, from any thread.

        Args:
            window: where latencies count, and how many streams were live.
            scored: where word errors, messages and bytes count.
        """
        remains = self._remains(scored)
        return lambda: remains.result(window, scored)

    def _remains(self, scored: MeasuredWindow) -> Remains:
        # After a cut only what was sent can have been heard.
        sound = self._track.chunks_sent * self._level.chunk_seconds
        track = self._track.until(self._voice.begun + sound + HAIR)
        ending = StreamOutcome("done")
        if self._end.at is not None and (self._end.at in scored or self._end.at < scored.since):
            ending = self._end.ending or ending
        ready = (
            self._ear.ready.result() if self._ear.ready.done() and not self._ear.ready.cancelled() else StreamReady()
        )
        return Remains(
            number=self._order.number,
            track=track,
            ending=ending,
            chunk_seconds=self._level.chunk_seconds,
            keep_text=self._level.keep_text,
            bytes_a_chunk=self._voice.bytes / max(1, track.chunks_sent),
            gpu_id=ready.gpu_id,
            replica=self._replica,
            connection_id=ready.connection_id or self._upgrade.connection_id,
            server_id=ready.server_id or self._upgrade.server_id,
            total_gpus=ready.total_gpus or self._upgrade.total_gpus,
            connect_seconds=self._connect_seconds,
            ready_seconds=self._ready_seconds,
            tail_seconds=self._tail_seconds() if ending.outcome == "done" else None,
        )

    def _tail_seconds(self) -> float | None:
        if self._ended_at is None or self._ear.heard_at is None:
            return None
        return max(0.0, self._ear.heard_at - self._ended_at)


async def _first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:  # noqa: ASYNC109  # it is a wait
    await asyncio.wait(set(futures), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
