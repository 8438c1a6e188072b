"""A worker's event loop: audio in, batches to the decoding threads, text out."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server import ipc
from server.engines.engine import Engine, EngineInfo, Hypothesis, RowEngine, UnfitError, decode_each
from server.settings import SimulatedLaw
from server.worker.batched_vad import BatchedVad
from server.worker.decode_windows import VARIABLE, rule_for
from server.worker.scheduler import CONTEXTS_SECONDS, Backlog, Job, contexts_from, next_batch, next_due
from server.worker.service_time import ServiceTime
from server.worker.silero import network
from server.worker.stream import DecodeWindow, Stream
from server.worker.vad import LevelVad, SileroVad, Vad
from server.worker.worker_counters import WorkerCounters

log = logging.getLogger("whisper_ops.worker")

PROGRESS_SECONDS = 0.25
BEAT_SECONDS = 1.0
LOOK_SECONDS = 0.004
"""The least time between two dispatches, each of which looks at every stream."""


def make_engine(start: ipc.Start) -> Engine:
    """The engine of `start`, whose packages are imported here only."""
    if start.engine == "simulated":
        from server.engines.simulated import SimulatedEngine  # noqa: PLC0415  # each engine with what it needs, and no other

        law = {k: int(v) if k in ("fault_every", "hang_after") else v for k, v in start.law.items()}
        return SimulatedEngine(SimulatedLaw(**law))  # type: ignore[arg-type]  # the supervisor sends the same class
    assert start.model_path is not None
    if start.engine == "torch":
        from server.engines.torch.torch_engine import TorchEngine  # noqa: PLC0415  # torch: an extra

        return TorchEngine(start.model_path, start.device, start.compute_type, start.max_batch, start.threads)
    from server.engines.ctranslate2 import CTranslate2Engine  # noqa: PLC0415  # faster-whisper: an extra

    return CTranslate2Engine(Path(start.model_path), start.device, start.compute_type, start.lanes, start.threads)


def _exit_now() -> None:
    """The front process has ended or closed the channel: exit even if a thread is decoding a batch."""
    os._exit(0)


class Worker:
    """Owns the streams of one device. Everything but `load` and `decode` happens on the event loop."""

    def __init__(
        self,
        engines: Callable[[ipc.Start], Engine] = make_engine,
        clock: Callable[[], float] = time.monotonic,
        leave: "Callable[[], None] | None" = None,
    ) -> None:
        self.channel = ipc.Channel(ipc.ToWorker, self._receive, self._lost)
        self.finished = asyncio.Event()
        self._engines, self._clock, self._leave = engines, clock, leave or _exit_now
        self._engine: Engine | None = None
        self._streams: dict[int, Stream] = {}
        self._jobs: dict[int, Job[Stream]] = {}
        """By stream, what it would have decoded next; updated when a stream changes, not at each dispatch."""
        self._figures, self._backlog = WorkerCounters(), Backlog()
        self._rule = rule_for(os.environ.get(VARIABLE))
        self._listener = BatchedVad(self._after, lambda stream, error: self._give_up(stream.number, error))
        self._running: dict[int, float] = {}
        self._contexts = CONTEXTS_SECONDS
        self._taken = 0
        """Batches that occupy a lane."""
        self._kicked: asyncio.TimerHandle | asyncio.Handle | None = None
        self._kick_at = self._looked_at = float("-inf")
        self._by_rows = self._mixed = False
        self._cadence = 0.0
        """Seconds between two partials of a stream that the engine's time is worth; 0: as wished."""
        self._surplus: asyncio.TimerHandle | None = None
        self._reported: dict[int, tuple[float, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- messages -----------------------------------------------------------------------------------

    def _receive(self, message: ipc.Message) -> None:
        try:
            self._handle(message)
        except Exception as error:  # one stream's audio must not end the others
            stream = getattr(message, "stream", None)
            if stream is None:
                raise
            self._give_up(stream, error)

    def _give_up(self, number: int, error: Exception) -> None:
        log.error("A stream cannot go on", exc_info=error)
        self._forget(number)
        self.channel.send(ipc.Fault(number, "server_fault", f"the stream cannot go on: {type(error).__name__}"))

    def _forget(self, number: int) -> None:
        self._streams.pop(number, None)
        self._jobs.pop(number, None)
        self._listener.forget(number)

    def _handle(self, message: ipc.Message) -> None:
        now = self._clock()
        match message:
            case ipc.Start():
                self._start = message
                self._contexts = contexts_from(message.min_context_s)
                self._spawn(self._run(message))
            case ipc.Open():
                self._streams[message.stream] = Stream(
                    message, self._vad(), self._start.cadence_s, contexts=self._contexts, rule=self._rule
                )
            case ipc.Close():
                self._forget(message.stream)
                self._reported.pop(message.stream, None)
            case _:
                self._handle_stream(message, now)

    def _handle_stream(self, message: ipc.Message, now: float) -> None:
        """Messages about one stream, in order; those that come faster than real time wait in its inbox."""
        stream = self._streams.get(getattr(message, "stream", -1))
        if stream is None:
            return
        if stream.inbox or (isinstance(message, ipc.AudioMessage) and stream.pace.ahead(now)):
            stream.inbox.append(message)
            self._take_surplus_later()
        elif isinstance(message, ipc.AudioMessage):
            stream.receive(message.data, now)
            self._listener.add(stream)
        else:
            self._apply(stream, message, now)

    def _apply(self, stream: Stream, message: ipc.Message, now: float) -> None:
        match message:
            case ipc.AudioMessage(_, data):
                stream.feed(data, now)
            case ipc.Language(_, language):
                stream.speak(language)
            case ipc.Flush():
                stream.flush(now)
            case ipc.EndOfAudio():
                stream.end(now)
        self._after(stream)

    def _take_surplus_later(self, seconds: float = 0.0) -> None:
        if self._surplus is None:
            self._surplus = asyncio.get_running_loop().call_later(seconds, self._take_surplus)

    def _take_surplus(self) -> None:
        """Apply one waiting message, then pause for as long as that took."""
        self._surplus = None
        waiting = [stream for stream in self._streams.values() if stream.inbox]
        if not waiting:
            return
        stream, began = min(waiting, key=lambda stream: stream.pace.due), self._clock()
        try:
            self._apply(stream, stream.inbox.popleft(), began)
        except Exception as error:  # noqa: BLE001  # one stream's audio must not end the others
            self._give_up(stream.number, error)
        self._take_surplus_later(self._clock() - began)

    def _lost(self) -> None:
        self.finished.set()
        if self._surplus is not None:
            self._surplus.cancel()
        for task in self._tasks:
            task.cancel()
        self._leave()

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, start: ipc.Start) -> None:
        self._max_batch, self._lanes = start.max_batch, start.lanes
        self._service = ServiceTime(start.lanes, start.max_batch)
        self._pool = ThreadPoolExecutor(start.lanes, "decode")
        began = self._clock()
        try:
            if start.vad == "silero":
                network()  # fail here, not when the first stream speaks
            engine = self._engines(start)
            info: EngineInfo = await asyncio.get_running_loop().run_in_executor(self._pool, engine.load)
        except Exception as error:  # noqa: BLE001  # the front process reports whatever went wrong
            unfit = isinstance(error, UnfitError)
            self.channel.send(ipc.Broken(str(error) if unfit else f"{type(error).__name__}: {error}", unfit))
            self.channel.flush()
            return
        self._engine, self._by_rows = engine, isinstance(engine, RowEngine)
        self._mixed = info.mixed_contexts and self._rule.own_contexts
        self._contexts = contexts_from(start.min_context_s, mixed=self._mixed)
        for stream in self._streams.values():
            stream.contexts = self._contexts
            self._ask(stream)
        took, memory = self._clock() - began, info.details.get("memory")
        self.channel.send(ipc.Loaded(info.compute_type, took, start.max_batch, info.languages, info.codes, memory))
        self._kick()
        await self._report()

    def _vad(self) -> Vad:
        # Audio may come before the model is in memory, but never before the first message.
        return LevelVad() if self._start.vad == "level" else SileroVad()

    # --- decoding -----------------------------------------------------------------------------------

    def _after(self, stream: Stream) -> None:
        if stream.events:
            for event in stream.events:
                self.channel.send(event)
                self._figures.sent(event)
            stream.events.clear()
        self._figures.withheld += stream.withheld
        stream.withheld = 0
        self._ask(stream)
        if stream.speaking:
            self._kick()

    def _ask(self, stream: Stream) -> None:
        """Update a stream's job after it has changed."""
        stream.behind = self._behind
        job = stream.job() if stream.number in self._streams else None
        if job is None:
            self._jobs.pop(stream.number, None)
        else:
            self._jobs[stream.number] = job

    @property
    def _behind(self) -> bool:
        # An engine whose rows end one by one keeps no job waiting: streams ask less often instead.
        return self._backlog.behind or self._cadence > self._start.cadence_s

    def _kick(self, delay: float = 0.0) -> None:
        """Schedule one dispatch, `LOOK_SECONDS` after the last at the earliest."""
        loop = asyncio.get_running_loop()
        at = max(loop.time() + delay, self._looked_at + LOOK_SECONDS)
        if self._kicked is not None:
            if self._kick_at <= at:
                return
            self._kicked.cancel()
        self._kick_at, self._kicked = at, loop.call_at(at, self._dispatch)

    def _dispatch(self) -> None:
        self._kicked, self._looked_at = None, asyncio.get_running_loop().time()
        if self._engine is None:
            return
        now = self._clock()
        while self._taken < self._lanes:
            batch = next_batch(self._jobs.values(), now, self._rows(), mixed=self._mixed)
            if not batch:
                due = next_due(self._jobs.values())
                if due is not None:
                    self._kick(max(0.01, due - now))
                return
            self._figures.waited([now - job.due for job in batch])
            # Surplus waits for its time, however little there is to do.
            self._backlog.waited([now - job.due for job in batch if job.paced <= now])
            windows = [job.item.take(now, job.context if self._mixed else batch[0].context) for job in batch]
            for job in batch:
                self._ask(job.item)
            self._running[id(windows)] = now
            self._taken += 1
            self._spawn(self._decode(windows, now))

    def _rows(self) -> int:
        """How many windows to decode together at most."""
        if self._by_rows:
            return self._service.rows()
        return self._service.rows_in_time() if self._start.device.startswith("cpu") else self._max_batch

    async def _decode(self, windows: list[DecodeWindow], began: float) -> None:
        try:
            if isinstance(self._engine, RowEngine):
                await self._decode_rows(self._engine, windows)
            else:
                await self._decode_batch(windows)
        finally:
            del self._running[id(windows)]
        rows, ended = [window.row for window in windows], self._clock()
        self._figures.decoded(len(rows), sum(len(row.audio) for row in rows), began, ended)
        context_s = sum(row.context_s for row in rows) / len(rows)
        self._service.decoded(len(rows), context_s, ended - began)

    async def _decode_batch(self, windows: list[DecodeWindow]) -> None:
        assert self._engine is not None
        rows = [window.row for window in windows]
        loop = asyncio.get_running_loop()
        try:
            hypotheses = await loop.run_in_executor(self._pool, decode_each, self._engine, rows)
        finally:
            self._taken -= 1
        for window, hypothesis in zip(windows, hypotheses, strict=True):
            self._deliver(window, hypothesis)
        self._kick()

    async def _decode_rows(self, engine: RowEngine, windows: list[DecodeWindow]) -> None:
        """Deliver each row as it ends; the lane is free once the engine has accepted the batch."""
        loop = asyncio.get_running_loop()
        left, over = len(windows), asyncio.Event()

        def arrived(place: int, hypothesis: Hypothesis | Exception) -> None:
            nonlocal left
            left -= 1
            self._deliver(windows[place], hypothesis)
            self._kick()
            if not left:
                over.set()

        def done(place: int, hypothesis: Hypothesis | Exception) -> None:
            loop.call_soon_threadsafe(arrived, place, hypothesis)

        try:
            await loop.run_in_executor(self._pool, engine.start, [window.row for window in windows], done)
        finally:
            self._taken -= 1
        self._kick()
        await over.wait()

    def _deliver(self, window: DecodeWindow, hypothesis: Hypothesis | Exception) -> None:
        stream = self._streams.get(window.stream)
        if stream is None:
            return
        try:
            if isinstance(hypothesis, Exception):
                self._figures.failed_rows += 1
                log.warning("A window could not be decoded: %s", hypothesis)
                stream.fail(window)
            else:
                stream.apply(window, hypothesis, self._clock())
            self._after(stream)
        except Exception as error:  # noqa: BLE001  # one stream's text must not end the others
            self._give_up(window.stream, error)

    # --- reports ------------------------------------------------------------------------------------

    async def _report(self) -> None:
        beat_at = self._clock()
        while True:
            self._progress()
            now = self._clock()
            if now >= beat_at:
                beat_at = now + BEAT_SECONDS
                self._beat(now)
            await asyncio.sleep(PROGRESS_SECONDS)

    def _progress(self) -> None:
        moved = []
        for number, stream in self._streams.items():
            place = stream.covered_s, stream.settled_s
            if self._reported.get(number) != place:
                self._reported[number] = place
                moved.append((number, *place))
        if moved:
            self.channel.send(ipc.StreamProgress(moved))

    def _beat(self, now: float) -> None:
        assert self._engine is not None
        speaking = sum(stream.speaking for stream in self._streams.values())
        if self._by_rows:
            self._cadence = self._service.cadence(self._start.cadence_s, speaking)
            for stream in self._streams.values():
                if stream.cadence != self._cadence:
                    stream.cadence = self._cadence
                    self._ask(stream)
        oldest = now - min(self._running.values(), default=now)
        memory = self._engine.memory_bytes(len(self._streams))
        self.channel.send(self._figures.beat(now, oldest, speaking, memory, self._engine.reserved_bytes()))
