"""The past on the same screens: a feed whose polls come out of the history, up to a time cursor. Imports no textual.

The fleet's state takes what the pollers brought at the time, in the same order: the last five minutes (for the
sparklines) and, of a server that was silent longer than that, its last answer. So the picture of a moment is the one
that the live screen showed.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from dashboard import figure_text as f
from dashboard.alerts import Alert, AlertBook, AlertRule, load_rules
from dashboard.alerts.rule_families import highest
from dashboard.fleet_state import FleetState
from dashboard.history.history_notes import HistoryNotes, NotesAt, alert_view
from dashboard.history.point_in_time import MEMORY_SECONDS, between, gpu_lags, nearest, recording_begins, state_at
from dashboard.replay.chart_reader import HistoryCharts
from dashboard.world import AlertView, World, standing_first
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot

SPEEDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_AHEAD_SECONDS = 20.0
"""How much is read beyond the cursor at a time, in seconds of the viewer."""

_FIRST_ROUND_SECONDS = 1.0


def combined_alerts(
    active: Sequence[Alert], stored: Sequence[AlertView], rule_names: AbstractSet[str], polls_since: float
) -> tuple[AlertView, ...]:
    """The alerts of a moment: those that its polls raise, and those that the history has ended by then.

    Args:
        active: raised by the polls that were read.
        stored: from the history, as of that moment.
        rule_names: the rules that the polls were held against. An alert of another rule is taken from the history.
        polls_since: the oldest poll that was read. What began before it has its beginning and figures from the history.
    """
    lasting = [alert for alert in stored if alert.until is None]
    older = {alert.key: alert for alert in lasting if alert.since < polls_since or alert.rule not in rule_names}
    raised = {view.key: older.get(view.key, view) for view in map(alert_view, active)}
    # One that has only begun to clear is still raised at this moment, though the history has its end.
    ended = [
        alert
        for alert in stored
        if alert.until is not None and not (alert.key in raised and raised[alert.key].since <= alert.since)
    ]
    return standing_first([*(older | raised).values(), *ended])


class ReplayFeed:
    """A moment of the past that can run, stand, jump and change its speed."""

    def __init__(
        self,
        path: Path,
        at: float,
        clock: Callable[[], float] = time.monotonic,
        rules: Sequence[AlertRule] | None = None,
    ) -> None:
        self._rules = load_rules() if rules is None else rules
        self._names = frozenset(rule.name for rule in self._rules)
        self._book = AlertBook(self._rules)
        self.charts = HistoryCharts(path)
        self.playing = True
        self.speed = 1.0
        self._clock = clock
        self._tick = clock()
        self._at = at
        self._history = History.reading(path)
        self._notes_reader = HistoryNotes(path)
        self._notes = NotesAt()
        self._lock = threading.Lock()
        """Guards what `world` shows; held for moments only."""
        self._reading = threading.Lock()
        """Guards the file; held while it is read."""
        self._fleet_state = FleetState()
        self.objective_override_seconds: float | None = None
        """As `World` has it."""
        self._upcoming: deque[Snapshot] = deque()
        self._read_until = at
        self._without_gpu_lags: Mapping[str, float] = {}
        self._book_since = at
        self._jumped = True
        self._requested_at: float | None = at
        """A moment that a person named, until it was looked up whether anything was recorded then."""
        self._notice: str | None = None
        self._now = time.time
        self.refresh()

    @property
    def at(self) -> float:
        """The time cursor, UTC epoch seconds."""
        return self._at

    def seek(self, at: float, *, asked: bool = False) -> None:
        """Jump; what is shown there comes with the next `refresh`, and at once where it was read already.

        `asked`: a person named the moment; where nothing was recorded it is the nearest at which something was.
        """
        with self._lock:
            self._requested_at = at if asked else None
            ahead = self._at <= at <= self._read_until and not self._jumped
            self._at = min(at, self._now())
            self._tick = self._clock()
            self._jumped = not ahead

    def faster(self, steps: int) -> None:
        """The next speed up, or down for negative steps."""
        index = SPEEDS.index(self.speed) + steps
        self.speed = SPEEDS[max(0, min(len(SPEEDS) - 1, index))]

    def world(self) -> World:
        """The world at the cursor, which has moved on by the time since the last call."""
        with self._lock:
            self._advance()
            known = self._notes
            self._fleet_state.plans, self._fleet_state.events = known.plans, known.events
            alerts = combined_alerts(self._book.active, known.alerts, self._names, self._book_since)
            self._fleet_state.alerts = tuple(highest(alerts, self._rules))
            self._fleet_state.objective_override_seconds = self.objective_override_seconds
            return self._fleet_state.world(self._at, mode="replay", speed=self.speed if self.playing else 0.0)

    def refresh(self) -> bool:
        """Read the moment that was jumped to, else on ahead of the cursor; blocks. True: there is more to read."""
        with self._reading:
            self._notes = self._notes_reader.read(self._at) or self._notes
            if self._jumped:
                self._read_moment()
            elif self._without_gpu_lags:
                self._read_gpu_lags()
            else:
                return self._read_ahead()
        return True

    def take_notice(self) -> str | None:
        """What to say of the last jump, once; None: it went where it was asked to."""
        notice, self._notice = self._notice, None
        return notice

    def _go_nearest(self, asked: float) -> None:
        """Move from a moment at which nothing was recorded to the nearest at which something was."""
        there = nearest(self._history, asked)
        if there == asked:
            return
        now, shown = self._now(), f.when(there, self._now())
        self._notice = (
            f"recording begins {shown}; shown from there"
            if there == recording_begins(self._history)
            else f"nothing was recorded at {f.when(asked, now)}; shown from {shown}, the nearest"
        )
        with self._lock:
            # The servers of a fleet are not polled in the same instant: all of the first round belong to the picture.
            self._at = min(now, there + _FIRST_ROUND_SECONDS)

    def _read_moment(self) -> None:
        asked, self._requested_at = self._requested_at, None
        if asked is not None:
            self._go_nearest(asked)
        at = self._at
        then = state_at(self._history, at, self._rules)
        with self._lock:
            self._fleet_state, self._book, self._without_gpu_lags = then
            self._upcoming.clear()
            self._read_until, self._jumped = math.nextafter(at, math.inf), self._at != at
            self._book_since = at - MEMORY_SECONDS

    def _read_gpu_lags(self) -> None:
        """Time stands until this is done: nothing was read ahead."""
        lags = {server: gpu_lags(self._history, server, until) for server, until in self._without_gpu_lags.items()}
        with self._lock:
            for server, found in lags.items():
                self._fleet_state.restore_gpu_lags(server, found)
            self._without_gpu_lags = {}

    def _read_ahead(self) -> bool:
        at, until, ahead = self._at, self._read_until, _AHEAD_SECONDS * max(1.0, self.speed)
        if until - at < ahead / 2:
            more = between(self._history, self._history.polls.servers(), until, at + ahead)
            with self._lock:
                self._upcoming.extend(more)
                self._read_until = at + ahead
        return self._jumped

    def alert_moments(self) -> list[float]:
        """When alerts began, over all that is recorded, oldest first; blocks."""
        with self._reading:
            return sorted({alert.started_at for alert in self._history.polls.alerts(0.0, self._now())})

    def close(self) -> None:
        """Close the file."""
        with self._reading:
            self._history.close()
        self._notes_reader.close()
        self.charts.close()

    def _advance(self) -> None:
        now = self._clock()
        if self.playing and not self._jumped:
            # Never beyond what was read: what is missing there would look like silence.
            self._at = min(self._now(), self._read_until, self._at + (now - self._tick) * self.speed)
        self._tick = now
        while self._upcoming and self._upcoming[0].at <= self._at:
            self._fleet_state.take(self._upcoming[0])
            self._book.take(self._upcoming.popleft())
