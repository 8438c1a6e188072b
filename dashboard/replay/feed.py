"""What a screen is fed from: live pollers here, the history in `replay_feed`. Imports no textual."""

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

_POLLS_KEPT = 600
_EVENTS_KEPT = 200


class Feed(Protocol):
    """Live polls or the past, as the screens ask for them."""

    @property
    def charts(self) -> ChartSource:
        """Where its charts come from."""
        ...

    def world(self) -> World:
        """The world at this moment; never blocks."""
        ...

    def refresh(self) -> bool:
        """Read the history again; blocks, so it is called on a thread. True: there is more to read."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class LiveFeed:
    """The present: takes polls as they arrive, for the screens and for the history."""

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
        self._notes = None if history is None else HistoryNotes(history)
        self._began_at = time.time()
        self._recent_due = history is not None
        self._recent: list[RecentHistory] = []
        """The lags recorded before this dashboard began, until `fleet_state` has them."""
        self.fleet_state = FleetState(fleet.pollers)
        self.fleet_state.addresses = fleet.addresses
        self.interval = fleet.interval
        self._own_events: deque[EventRecord] = deque(maxlen=_EVENTS_KEPT)
        """Those of this dashboard's polls, newest first."""
        self._stored_events: tuple[EventRecord, ...] = ()
        """Those of the history when it was last read, newest first."""
        self._stored_alerts: tuple[AlertView, ...] = ()
        """The ended ones of the history."""
        self._writer_failed_at: float | None = None
        self._poll_seconds: deque[float] = deque(maxlen=_POLLS_KEPT)
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
        self._own_events.extendleft(self.monitor.take(snapshot).events)
        if snapshot.poll_seconds is not None:
            self._poll_seconds.append(snapshot.poll_seconds)

    def note(self, kind: str, detail: str, server: str | None = None) -> None:
        """Write an event that no poll shows, and show it."""
        self._own_events.appendleft(self.monitor.note(kind, detail, server))

    def forget(self, server: str) -> None:
        """A server is polled no more."""
        self.fleet_state.forget(server)
        self._own_events.extendleft(self.monitor.forget(server).events)

    def set_interval(self, seconds: float) -> None:
        """Poll every so many seconds from the next poll on."""
        self.interval = self.fleet.interval = seconds
        for poller in self.fleet.pollers.values():
            poller.interval = seconds

    def refresh(self) -> bool:
        """Plans, events and alerts, as the history holds them now."""
        read = None if self._notes is None else self._notes.read(time.time())
        if read is not None:
            self.fleet_state.plans, self._stored_events = read.plans, read.events
            # Which alerts last is known by our own polls; one that a recorder left without an end may be long over.
            self._stored_alerts = tuple(alert for alert in read.alerts if alert.until is not None)
        if self._recent_due and self._notes is not None:
            self._recent_due = False
            self._recent = self._notes.recent(tuple(self.fleet.pollers), self._began_at)
            return bool(self._recent)
        return False

    def close(self) -> None:
        """Let go of the history that is read; its writer belongs to the caller."""
        self.monitor.end()
        if self._notes is not None:
            self._notes.close()
        if isinstance(self.charts, HistoryCharts):
            self.charts.close()

    def world(self) -> World:
        """The world now."""
        while self._recent:
            recent = self._recent.pop()
            self.fleet_state.prepend(recent.server, recent.lags, recent.gpus)
        cost = DashboardCost(self._cost.cpu_ratio(), self._poll_p95(), self._cost.memory_bytes())
        self.fleet_state.alerts, self.fleet_state.events = self._alerts(), self._events()
        world = self.fleet_state.world(time.time(), interval=self.interval, cost=cost)
        writer = self.monitor.writer
        recording = "nothing is recorded" if writer is None else f"recording to {writer.path}"
        trouble = None if writer is None else writer.note
        return msgspec.structs.replace(world, recording=recording, trouble=trouble)

    def _alerts(self) -> tuple[AlertView, ...]:
        book = self.monitor.book
        own = [*self._writer_stopped(), *(alert_view(alert) for alert in (*book.active, *book.ended))]
        known = {(alert.key, alert.since) for alert in own}
        stored = [alert for alert in self._stored_alerts if (alert.key, alert.since) not in known]
        return standing_first(highest([*own, *stored], self.rules))

    def _writer_stopped(self) -> list[AlertView]:
        """An alert that no history can hold: nothing is recorded any more."""
        sentence = None if self.monitor.writer is None else self.monitor.writer.failure
        if sentence is None:
            return []
        since = self._writer_failed_at = self._writer_failed_at or time.time()
        return [AlertView(server="this dashboard", rule=WRITER_STOPPED, severity="bad", since=since, sentence=sentence)]

    def _events(self) -> tuple[EventRecord, ...]:
        """Those of the history, after those that are too new to have been read back from it."""
        newest = self._stored_events[0].at if self._stored_events else float("-inf")
        return (*(event for event in self._own_events if event.at > newest), *self._stored_events)

    def _poll_p95(self) -> float | None:
        polls = sorted(self._poll_seconds)
        return polls[int(0.95 * (len(polls) - 1))] if polls else None


class ProcessCost:
    """What this process takes: its CPU, averaged over `window_seconds` so that the figure can be read, and memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, window_seconds: float = 5.0) -> None:
        self._process = psutil.Process()
        self._clock = clock
        self._window = window_seconds
        self._began = (clock(), self._seconds())
        self._ratio: float | None = None

    def cpu_ratio(self) -> float | None:
        """Share of one core over the last window; None in the first."""
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
