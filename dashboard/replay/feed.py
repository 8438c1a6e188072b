"""Where the worlds on the screens come from: live pollers, or a moment that stands still. Imports no textual."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec
import psutil

from dashboard.alerts import AlertRule
from dashboard.alerts.rule_families import highest
from dashboard.fleet_state import FleetState
from dashboard.history.history_notes import HistoryNotes, alert_view
from dashboard.history.history_writer import WRITER_STOPPED, HistoryWriter
from dashboard.history.recent_history import RecentHistory
from dashboard.monitoring.monitor import Monitor
from dashboard.polling.poller import Pollers
from dashboard.replay.chart_reader import ChartSource, HistoryCharts, NoCharts
from dashboard.world import AlertView, DashboardCost, World, standing_first
from whisper_ops.history import EventRecord
from whisper_ops.snapshot import Snapshot

_POLLS_REMEMBERED = 600
_EVENTS_REMEMBERED = 200


class Feed(Protocol):
    """A source of worlds, and of the charts that go with them."""

    @property
    def charts(self) -> ChartSource:
        """Where its charts come from."""
        ...

    def world(self) -> World:
        """The world at this moment; never blocks."""
        ...

    def refresh(self) -> bool:
        """Read again what is in the history; blocks, so it is called on a thread. True: it is worth another call."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class LiveFeed:
    """The present: polls are written on the board as they arrive, and handed to the history."""

    def __init__(
        self,
        fleet: Pollers,
        writer: HistoryWriter | None,
        history: Path | None,
        rules: Iterable[AlertRule] = (),
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` measures how long things last, as `AlertBook` has it; without one the polls' own time does."""
        self.monitor = Monitor(fleet, writer, history, rules, clock=clock)
        self.charts: ChartSource = NoCharts("there is no history") if history is None else HistoryCharts(history)
        self._memory = None if history is None else HistoryNotes(history)
        self._began_at = time.time()
        self._earlier_due = history is not None
        self._earlier: list[RecentHistory] = []
        """What was recorded before this dashboard began, until it is on the board."""
        self.fleet_state = FleetState(fleet.pollers)
        self.fleet_state.addresses = fleet.addresses
        self.interval = fleet.interval
        self._events: deque[EventRecord] = deque(maxlen=_EVENTS_REMEMBERED)
        """Those that this dashboard saw, newest first."""
        self._over: tuple[AlertView, ...] = ()
        """Alerts of the time before this dashboard, from the history."""
        self._failed_at: float | None = None
        self._noted: tuple[EventRecord, ...] = ()
        self._polls: deque[float] = deque(maxlen=_POLLS_REMEMBERED)
        self._cost = ProcessCost()

    @property
    def fleet(self) -> Pollers:
        """Who is polled."""
        return self.monitor.fleet

    @property
    def rules(self) -> tuple[AlertRule, ...]:
        """What the polls are held against."""
        return self.monitor.rules

    async def run(self) -> None:
        """Poll until cancelled."""
        await self.fleet.run(self.take, self.forget)

    def take(self, snapshot: Snapshot) -> None:
        """Take a poll; never blocks."""
        poller = self.fleet.pollers.get(snapshot.server)
        self.fleet_state.take(snapshot, poller.next_try_at if poller else None)
        self._events.extendleft(self.monitor.take(snapshot).events)
        if snapshot.poll_seconds is not None:
            self._polls.append(snapshot.poll_seconds)

    def note(self, kind: str, detail: str, server: str | None = None) -> None:
        """Keep, among the events, that something happened which no poll shows."""
        self._events.appendleft(self.monitor.note(kind, detail, server))

    def forget(self, server: str) -> None:
        """A server is polled no more."""
        self.fleet_state.forget(server)
        self._events.extendleft(self.monitor.forget(server).events)

    def set_interval(self, seconds: float) -> None:
        """Poll every so many seconds from the next poll on."""
        self.interval = self.fleet.interval = seconds
        for poller in self.fleet.pollers.values():
            poller.interval = seconds

    def refresh(self) -> bool:
        """Plans, events and alerts, as the history holds them now."""
        read = None if self._memory is None else self._memory.read(time.time())
        if read is not None:
            self.fleet_state.plans, self._noted = read.plans, read.events
            # What stands is what these polls say; an alert that a recorder left open long ago is not the present.
            self._over = tuple(alert for alert in read.alerts if alert.until is not None)
        if self._earlier_due and self._memory is not None:
            self._earlier_due = False
            self._earlier = self._memory.earlier(tuple(self.fleet.pollers), self._began_at)
            return bool(self._earlier)
        return False

    def close(self) -> None:
        """Let go of the history that is read; its writer belongs to the caller."""
        self.monitor.end()
        if self._memory is not None:
            self._memory.close()
        if isinstance(self.charts, HistoryCharts):
            self.charts.close()

    def world(self) -> World:
        """The world now."""
        while self._earlier:
            before = self._earlier.pop()
            self.fleet_state.prepend(before.server, before.lags, before.gpus)
        cost = DashboardCost(self._cost.cpu_ratio(), self._poll_p95(), self._cost.memory_bytes())
        self.fleet_state.alerts, self.fleet_state.events = self._alerts(), self._known_events()
        world = self.fleet_state.world(time.time(), interval=self.interval, cost=cost)
        writer = self.monitor.writer
        recording = "nothing is recorded" if writer is None else f"recording to {writer.path}"
        trouble = None if writer is None else writer.note
        return msgspec.structs.replace(world, recording=recording, trouble=trouble)

    def _alerts(self) -> tuple[AlertView, ...]:
        book = self.monitor.book
        own = [*self._writer_stopped(), *(alert_view(alert) for alert in (*book.active, *book.past))]
        held = {(alert.server, alert.gpu_id, alert.rule, alert.since) for alert in own}
        before = [alert for alert in self._over if (alert.server, alert.gpu_id, alert.rule, alert.since) not in held]
        return standing_first(highest([*own, *before], self.rules))

    def _writer_stopped(self) -> list[AlertView]:
        """That nothing is recorded any more is an alert, which no history can hold."""
        sentence = None if self.monitor.writer is None else self.monitor.writer.failure
        if sentence is None:
            return []
        self._failed_at = self._failed_at or time.time()
        return [
            AlertView(
                server="this dashboard", rule=WRITER_STOPPED, severity="bad", since=self._failed_at, sentence=sentence
            )
        ]

    def _known_events(self) -> tuple[EventRecord, ...]:
        """Those of the history, and on top those too new to have been read back."""
        newest = self._noted[0].at if self._noted else float("-inf")
        return (*(event for event in self._events if event.at > newest), *self._noted)

    def _poll_p95(self) -> float | None:
        polls = sorted(self._polls)
        return polls[int(0.95 * (len(polls) - 1))] if polls else None


class ProcessCost:
    """What this process takes: its CPU, measured over some seconds so that the figure can be read, and its memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, window_seconds: float = 5.0) -> None:
        self._process = psutil.Process()
        self._clock = clock
        self._window = window_seconds
        self._began = (clock(), self._seconds())
        self._ratio: float | None = None

    def cpu_ratio(self) -> float | None:
        """Of one core, over the last window; None in the first."""
        now = self._clock()
        began, before = self._began
        if now - began >= self._window:
            spent = self._seconds()
            self._ratio = (spent - before) / (now - began)
            self._began = (now, spent)
        return self._ratio

    def memory_bytes(self) -> float:
        """Resident memory."""
        return float(self._process.memory_info().rss)

    def _seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
