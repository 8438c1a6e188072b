"""One speaking client: connect, wait until the server is ready, speak in real time, listen, end, and be measured."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from capacity.corpus.clips import Corpus
from capacity.loadgen.connection import StreamConnection, wait_for_first
from capacity.loadgen.messages import LevelOrder, StreamOrder, StreamResult
from capacity.loadgen.pacer import Pacer
from capacity.loadgen.recording import ALWAYS, EPSILON_SECONDS, MeasuredWindow, StreamRecording, measure
from capacity.loadgen.sender import Sender
from capacity.loadgen.stream_outcome import StreamOutcome, connection_lost

_SETTLED_SECONDS = 3.0
"""Text that is complete and has not changed for this long after the end of the sound will not change."""
_GIVEN_UP_SECONDS = 10.0
"""Where words are missing: a server that is behind may take long from one text to the next."""


class LoadStream:
    """One stream of a level. `run` never raises for what a server does; the result says it."""

    def __init__(self, order: StreamOrder, level: LevelOrder, corpus: Corpus, pacer: Pacer) -> None:
        self._order = order
        self._level = level
        self._pacer = pacer
        self._recording = StreamRecording(level.chunk_seconds)
        self._connection = StreamConnection(level.endpoint, self._recording, level.block_seconds)
        self._receiver, self._end = self._connection.receiver, self._connection.end
        self._sender = Sender(order, level, corpus, self._recording, self._end, self._receiver.all_sent)
        self._sound_ended_at: float | None = None

    # --- what the live table reads -------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the server took it."""
        return self._connection.ready_seconds is not None

    @property
    def is_live(self) -> bool:
        """Whether it is speaking now."""
        return self.is_ready and not self._receiver.all_sent.is_set() and self._end.outcome is None

    @property
    def has_failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return self._end.outcome is not None and self._end.outcome.outcome not in {"done", "stopped"}

    @property
    def updates(self) -> int:
        """How many times its text changed."""
        return self._receiver.changes

    def behind(self, now: float) -> float | None:
        """About how many seconds its text is behind its speech; None when it is not speaking."""
        if not self.is_live or self._sender.live_lag is None:
            return None
        return self._sender.live_lag.behind(self._receiver.text, now)

    @property
    def last_lateness(self) -> float:
        """Of its last chunk, in seconds."""
        return self._recording.lateness[-1] if self._recording.lateness else 0.0

    @property
    def was_stopped(self) -> bool:
        """Whether the load test itself ended it, early or in its time."""
        outcome = self._end.outcome.outcome if self._end.outcome else ""
        return outcome == "stopped" or (outcome == "done" and self._receiver.all_sent.is_set())

    # --- its life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live through the stream."""
        await asyncio.sleep(max(0.0, self._order.start_at - time.monotonic()))
        try:
            outcome = await self._live()
        except asyncio.CancelledError:
            outcome = StreamOutcome("stopped")
        self._end.set(outcome)

    async def _live(self) -> StreamOutcome:
        connection = self._connection
        try:
            failure = await connection.open(self._level.setup_seconds)
            if failure is not None:
                return failure
            assert connection.socket is not None
            self._sender.start(connection.socket, connection.client, self._pacer)
            sent = asyncio.ensure_future(self._receiver.all_sent.wait())
            await wait_for_first(sent, self._end.reached)
            sent.cancel()
            return self._end.outcome or await self._finish(connection.socket)
        except ConnectionClosed as closed:
            return connection_lost(closed)
        finally:
            await connection.close()

    async def _finish(self, socket: ClientConnection) -> StreamOutcome:
        client = self._connection.client
        self._sound_ended_at = time.monotonic()
        deadline = self._sound_ended_at + self._level.drain_seconds
        if not client.flushes_tail:
            await self._settle(self._sound_ended_at, deadline)
        for message in client.ending():
            await socket.send(message)
        await wait_for_first(self._end.reached, seconds=max(0.5, deadline - time.monotonic()))
        if self._end.outcome is not None:
            return self._end.outcome
        if not client.flushes_tail:
            return StreamOutcome("done")
        return StreamOutcome("failed", f"no end of text {self._level.drain_seconds:g} s after the sound")

    async def _settle(self, ended_at: float, deadline: float) -> None:
        live_lag = self._sender.live_lag
        while (now := time.monotonic()) < deadline and self._end.outcome is None:
            quiet = now - max(self._receiver.changed_at or 0.0, ended_at)
            behind = live_lag.behind(self._receiver.text, now) if live_lag else 0.0
            if quiet >= (_SETTLED_SECONDS if not behind else _GIVEN_UP_SECONDS):
                return
            await asyncio.sleep(0.1)

    # --- its measurement -----------------------------------------------------------------------------

    def lived_in(self, window: MeasuredWindow) -> bool:
        """Whether it was there in any of the time."""
        return self._order.start_at < window.until and (self._end.at is None or self._end.at >= window.since)

    def forget(self, before: float) -> None:
        """Drop what was measured."""
        self._recording.forget(before)

    def measured(self, window: MeasuredWindow, scored: MeasuredWindow = ALWAYS) -> Callable[[], StreamResult]:
        """What measures the stream as it is now, to be called when there is time, from any thread.

        Args:
            window: where latencies count, and how many streams were live.
            scored: where word errors, messages and bytes count.
        """
        # After a cut only what was sent can have been heard.
        sound = self._recording.chunks_sent * self._level.chunk_seconds
        recording = self._recording.until(self._sender.begun + sound + EPSILON_SECONDS)
        return partial(measure, self._result(scored), recording, window, scored, keep_text=self._level.keep_text)

    def _result(self, scored: MeasuredWindow) -> StreamResult:
        """How it connected and ended; what it said and got is measured from its recording."""
        outcome, at = self._end.outcome, self._end.at
        if outcome is None or at is None or (at not in scored and at >= scored.since):
            outcome = StreamOutcome("done")
        connection, server = self._connection, self._connection.server
        return StreamResult(
            number=self._order.number,
            outcome=outcome.outcome,
            error=outcome.error,
            wants_token=outcome.wants_token,
            gpu_id=server.gpu_id,
            replica=connection.replica,
            connection_id=server.connection_id,
            server_id=server.server_id,
            total_gpus=server.total_gpus,
            connect_seconds=connection.connect_seconds,
            ready_seconds=connection.ready_seconds,
            end_to_final_seconds=self._end_to_final_seconds() if outcome.outcome == "done" else None,
        )

    def _end_to_final_seconds(self) -> float | None:
        if self._sound_ended_at is None or self._receiver.changed_at is None:
            return None
        return max(0.0, self._receiver.changed_at - self._sound_ended_at)
