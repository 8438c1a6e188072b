"""The past on the same screens: a feed whose polls come out of the history, up to a time cursor. Imports no textual.

The board is fed with what the pollers brought at the time, in the same order. Its memory is five minutes (the
sparklines) and, for a server that was silent longer than that, the last answer before: so that the picture of a moment
is the one that the live screen showed.
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
from dashboard.history.point_in_time import MEMORY_SECONDS, begins, between, gpu_lags, nearest, rewound
from dashboard.replay.chart_reader import HistoryCharts
from dashboard.world import AlertView, World, standing_first
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot

SPEEDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_AHEAD_SECONDS = 20.0
"""How much is read beyond the cursor at a time, in seconds of the viewer."""

_FIRST_ROUND_SECONDS = 1.0


def alerts_at(
    active: Sequence[Alert], stored: Sequence[AlertView], known: AbstractSet[str], book_since: float
) -> tuple[AlertView, ...]:
    """The alerts of a moment: those that its polls raise, and those that the history knows to be over by then.

    An alert that began before the polls that were read (`book_since`) has its beginning, and its figures, from the
    history; one that the history holds open, and that a short memory or other rules (`known` are the names of these)
    cannot raise again, stands.
    """
    lasting = [alert for alert in stored if alert.until is None]
    older = {_place(alert): alert for alert in lasting if alert.since < book_since or alert.rule not in known}
    standing = {_place(view): older.get(_place(view), view) for view in map(alert_view, active)}
    past = [alert for alert in stored if alert.until is not None and not _same(alert, standing.get(_place(alert)))]
    return standing_first([*(older | standing).values(), *past])


def _place(alert: AlertView) -> tuple[str, int | None, str]:
    return alert.server, alert.gpu_id, alert.rule


def _same(over: AlertView, standing: AlertView | None) -> bool:
    """Whether an alert that ended by now is the one that still stands: an end is known only when it has lasted."""
    return standing is not None and standing.since <= over.since


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
        self._memory = HistoryNotes(path)
        self._remembered = NotesAt()
        self._lock = threading.Lock()
        """Guards what `world` shows; held for moments only."""
        self._reading = threading.Lock()
        """Guards the file; held while it is read."""
        self._fleet_state = FleetState()
        self.objective_override_seconds: float | None = None
        """See `World`."""
        self._coming: deque[Snapshot] = deque()
        self._read_until = at
        self._sketched: Mapping[str, float] = {}
        self._book_since = at
        self._sought = True
        self._asked: float | None = at
        """A moment that a person named, until it was held against what is recorded."""
        self._news: str | None = None
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
            self._asked = at if asked else None
            ahead = self._at <= at <= self._read_until and not self._sought
            self._at = min(at, self._now())
            self._tick = self._clock()
            self._sought = not ahead

    def faster(self, steps: int) -> None:
        """The next speed up, or down for negative steps."""
        index = SPEEDS.index(self.speed) + steps
        self.speed = SPEEDS[max(0, min(len(SPEEDS) - 1, index))]

    def world(self) -> World:
        """The world at the cursor, which has moved on by the time since the last call."""
        with self._lock:
            self._advance()
            known = self._remembered
            self._fleet_state.plans, self._fleet_state.events = known.plans, known.events
            alerts = alerts_at(self._book.active, known.alerts, self._names, self._book_since)
            self._fleet_state.alerts = tuple(highest(alerts, self._rules))
            self._fleet_state.objective_override_seconds = self.objective_override_seconds
            return self._fleet_state.world(self._at, mode="replay", speed=self.speed if self.playing else 0.0)

    def refresh(self) -> bool:
        """Read the moment that was jumped to, else on ahead of the cursor; blocks. True: there is more to read."""
        with self._reading:
            self._remembered = self._memory.read(self._at) or self._remembered
            if self._sought:
                self._rewind()
            elif self._sketched:
                self._finish()
            else:
                return self._read_ahead()
        return True

    def take_news(self) -> str | None:
        """What a person should be told of the last jump; once."""
        news, self._news = self._news, None
        return news

    def _go_nearest(self, asked: float) -> None:
        """From a moment without any record to the nearest that has one, and say so."""
        there = nearest(self._history, asked)
        if there == asked:
            return
        now, shown = self._now(), f.when(there, self._now())
        self._news = (
            f"recording begins {shown}; shown from there"
            if there == begins(self._history)
            else f"nothing was recorded at {f.when(asked, now)}; shown from {shown}, the nearest"
        )
        with self._lock:
            # The servers of a fleet are not polled in the same instant: all of the first round belong to the picture.
            self._at = min(now, there + _FIRST_ROUND_SECONDS)

    def _rewind(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            self._go_nearest(asked)
        at = self._at
        then = rewound(self._history, at, self._rules)
        with self._lock:
            self._fleet_state, self._book, self._sketched = then
            self._coming.clear()
            self._read_until, self._sought = math.nextafter(at, math.inf), self._at != at
            self._book_since = at - MEMORY_SECONDS

    def _finish(self) -> None:
        """Time stands until this is done: nothing was read ahead."""
        lags = {server: gpu_lags(self._history, server, until) for server, until in self._sketched.items()}
        with self._lock:
            for server, found in lags.items():
                self._fleet_state.restore_gpu_lags(server, found)
            self._sketched = {}

    def _read_ahead(self) -> bool:
        at, until, ahead = self._at, self._read_until, _AHEAD_SECONDS * max(1.0, self.speed)
        if until - at < ahead / 2:
            more = between(self._history, self._history.polls.servers(), until, at + ahead)
            with self._lock:
                self._coming.extend(more)
                self._read_until = at + ahead
        return self._sought

    def alert_moments(self) -> list[float]:
        """When alerts began, over all that is recorded, oldest first; blocks."""
        with self._reading:
            return sorted({alert.started_at for alert in self._history.polls.alerts(0.0, self._now())})

    def close(self) -> None:
        """Close the file."""
        with self._reading:
            self._history.close()
        self._memory.close()
        self.charts.close()

    def _advance(self) -> None:
        now = self._clock()
        if self.playing and not self._sought:
            # Never beyond what was read: what is missing there would look like silence.
            self._at = min(self._now(), self._read_until, self._at + (now - self._tick) * self.speed)
        self._tick = now
        while self._coming and self._coming[0].at <= self._at:
            self._fleet_state.take(self._coming[0])
            self._book.take(self._coming.popleft())
