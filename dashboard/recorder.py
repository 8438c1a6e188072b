"""Pollers and alerts without a screen, for as long as the machine is up."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dashboard.narrator import Narrator
from dashboard.settings import Watch
from dashboard.systemd import Notify
from dashboard.writer import HistoryWriter
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import EventRecord
from whisper_ops.snapshot import Snapshot

COMMAND = "whisper-ops record"


class Recorder:
    """Polls what `watch` names into `history` until a signal, or until `duration` seconds are over."""

    def __init__(self, watch: Watch, history: Path, say: Callable[[str], None]) -> None:
        self._watch = watch
        self._path = history
        self._say = say
        self._fleet = watch.fleet()
        self._narrator = Narrator(self._fleet, say)
        self._notify = Notify()
        self._stop = asyncio.Event()
        self._signal: int | None = None

    async def run(self, duration: float | None) -> Exit:
        """Record. SIGTERM is a clean end, Ctrl-C an interruption; both commit what was polled.

        Raises:
            UserError: the history cannot be written, or another process writes it.
        """
        with HistoryWriter(self._path, self._say, command=COMMAND, retention=self._watch.retention) as writer:
            if not writer.writing:
                raise UserError(f"{writer.note or self._path}; stop that one first, or name another --history")
            began = time.monotonic()
            self._event(writer, "recorder_started", f"each {self._watch.poll.interval_seconds:g} s")
            self._catch_signals()
            self._say(self._what())
            polling = asyncio.create_task(self._fleet.run(lambda snapshot: self._emit(writer, snapshot)))
            beating = asyncio.create_task(self._beat(writer))
            try:
                await self._until_stopped(polling, duration)
            finally:
                self._notify.stopping()
                beating.cancel()
                polling.cancel()
                await asyncio.gather(polling, beating, return_exceptions=True)
                self._event(writer, "recorder_stopped", self._narrator.summary(began))
        self._say(f"recorded {self._narrator.summary(began)}; {writer.written_total} rows of polls and events")
        return self._exit()

    def _emit(self, writer: HistoryWriter, snapshot: Snapshot) -> None:
        writer.put(snapshot)
        self._narrator.feed(snapshot)

    async def _until_stopped(self, polling: "asyncio.Task[None]", duration: float | None) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopped, polling}, timeout=duration, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if polling.done():
            polling.result()  # it never ends by itself: what ended it is a fault of ours, and is raised

    async def _beat(self, writer: HistoryWriter) -> None:
        """Tell systemd that the loop runs and the writer's thread lives: the two things that may hang."""
        self._notify.ready(self._what())
        if self._notify.watchdog_seconds is None:
            return
        while writer.alive:
            self._notify.alive(f"{self._narrator.live} servers answer, {writer.written_total} rows written")
            await asyncio.sleep(self._notify.watchdog_seconds)

    def _what(self) -> str:
        count = len(self._watch.servers)
        servers = self._watch.servers[0].label if count == 1 else f"{count} servers"
        return f"recording {servers} into {self._path}, each {self._watch.poll.interval_seconds:g} s"

    def _event(self, writer: HistoryWriter, kind: str, detail: str) -> None:
        writer.put(EventRecord(at=time.time(), kind=kind, detail=detail))

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped_by, number)

    def _stopped_by(self, number: int) -> None:
        self._signal = number
        self._stop.set()

    def _exit(self) -> Exit:
        if self._signal == signal.SIGINT:
            return Exit.INTERRUPTED
        polled = self._narrator.polls_total
        return Exit.UNREACHABLE if polled and polled == self._narrator.failures_total else Exit.GOOD
