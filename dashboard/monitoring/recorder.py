"""`record`: pollers, history and alerts without a screen, as a service runs them."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dashboard.alerts import Alert, AlertChange, load_rules
from dashboard.alerts.notifications import Notifier
from dashboard.config import WatchConfig
from dashboard.history.history_writer import WRITER_STOPPED, HistoryWriter
from dashboard.monitoring.monitor import Monitor, PollChanges
from dashboard.monitoring.progress_log import ProgressLog
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.service_manager import Notify
from whisper_ops.snapshot import Snapshot

COMMAND = "whisper-ops record"
_CHECK_SECONDS = 0.5
_FINAL_ALERTS_SECONDS = 5.0
"""How long the end waits until the last alerts are sent."""


class Recorder:
    """Polls the servers of `watch` into `history` until a signal, or for `duration` seconds."""

    def __init__(
        self,
        watch: WatchConfig,
        history: Path,
        say: Callable[[str], None],
        *,
        webhook: str | None = None,
        on_alert: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._path = history
        self._say = say
        self._fleet = watch.fleet()
        self._clock = clock
        self._rules = load_rules(watch.alerts)
        self._log = ProgressLog(say)
        self._notifier = Notifier(
            say,
            webhook=webhook,
            command=on_alert,
            secrets=[server.token_env for server in watch.servers if server.token_env],
        )
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
            monitor = Monitor(self._fleet, writer, self._path, self._rules, clock=self._clock)
            self._catch_signals()
            self._say(self._title())
            polling = asyncio.create_task(
                self._fleet.run(
                    lambda snapshot: self._take(monitor, snapshot), lambda server: self._report(monitor.forget(server))
                )
            )
            helpers = [asyncio.create_task(task) for task in (self._feed_watchdog(writer), self._notifier.run())]
            try:
                await self._until_stopped(writer, polling, duration)
                self._report_writer_failure(writer)
            finally:
                self._notify.stopping()
                polling.cancel()
                await asyncio.gather(polling, return_exceptions=True)
                await self._notifier.drain(_FINAL_ALERTS_SECONDS)
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
                monitor.end()
        self._say(f"recorded {monitor.summary()}; {counted(writer.written_total, 'row')} of polls and events")
        if writer.set_aside_total:
            self._say(f"{counted(writer.set_aside_total, 'row')} could not be stored, and set aside")
        if writer.unwritten:
            why = writer.note or f"{self._path} took no rows for too long"
            self._say(f"{counted(writer.unwritten, 'row is lost', 'rows are lost')}: {why}")
        return self._exit_code(monitor) if writer.failure is None and not writer.unwritten else Exit.NO

    def _report_writer_failure(self, writer: HistoryWriter) -> None:
        """A writer that stopped is an alert, which no history can hold. The recorder ends, to be started again."""
        if writer.failure is None:
            return
        now = time.time()
        alert = Alert(
            rule=WRITER_STOPPED, severity="critical", server=COMMAND, since=now, value=1.0, minimum=1.0, mean=1.0,
            maximum=1.0, sentence=f"{COMMAND}: {writer.failure}",
        )  # fmt: skip
        self._notifier.put(AlertChange("started", alert))
        self._say(f"alert started: {alert.sentence}")

    def _take(self, monitor: Monitor, snapshot: Snapshot) -> None:
        changes = monitor.take(snapshot)
        self._log.take(snapshot)
        self._report(changes)

    def _report(self, changes: PollChanges) -> None:
        self._log.log_changes(changes)
        for alert in changes.alerts:
            self._notifier.put(alert)

    async def _until_stopped(
        self, writer: HistoryWriter, polling: "asyncio.Task[None]", duration: float | None
    ) -> None:
        stopped, failed = asyncio.create_task(self._stop.wait()), asyncio.create_task(_failure_of(writer))
        await asyncio.wait({stopped, failed, polling}, timeout=duration, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        failed.cancel()
        if polling.done():
            polling.result()  # only a fault of ours ends it, and is raised here

    async def _feed_watchdog(self, writer: HistoryWriter) -> None:
        """Tell systemd that the event loop and the writer's thread run: the two that may hang."""
        self._notify.ready(self._title())
        if self._notify.watchdog_seconds is None:
            return
        while writer.alive:
            live, rows = counted(self._log.live, "server"), counted(writer.written_total, "row")
            self._notify.alive(f"{live} reached, {rows} written")
            await asyncio.sleep(self._notify.watchdog_seconds)

    def _title(self) -> str:
        count = len(self._watch.servers)
        servers = self._watch.servers[0].label if count == 1 else counted(count, "server")
        return f"recording {servers} into {self._path}, each {self._watch.poll.interval_seconds:g} s"

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        self._signal = number
        self._stop.set()

    def _exit_code(self, monitor: Monitor) -> Exit:
        if self._signal == signal.SIGINT:
            return Exit.INTERRUPTED
        polled = monitor.polls_total
        return Exit.UNREACHABLE if polled and polled == monitor.failures_total else Exit.GOOD


async def _failure_of(writer: HistoryWriter) -> None:
    """Wait until the writer's thread has ended, which it does only by a fault."""
    while writer.alive:  # noqa: ASYNC110  # a thread that ends sets no event of the loop's
        await asyncio.sleep(_CHECK_SECONDS)
