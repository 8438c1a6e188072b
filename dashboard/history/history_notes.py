"""What the history remembers besides readings: plans, events and alerts. Imports no textual."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dashboard.alerts import Alert
from dashboard.alerts.messages import spread, told
from dashboard.history.history_reader import HistoryReader
from dashboard.history.recent_history import RecentHistory, earlier
from dashboard.world import AlertView, Severity, standing_first
from whisper_ops.errors import UserError
from whisper_ops.history import AlertRecord, EventRecord, History, point_in_time
from whisper_ops.plan.plan_document import Plan
from whisper_ops.plan.plan_records import read_or_columns

_EVENTS_KEPT = 500
_LOOK_BACK_SECONDS = 7 * 86400.0
_SAME_ALERT_SECONDS = 900.0
"""What stood before a pause of watching that was not longer than this, and stands after it, is one alert."""
_SEVERITIES: dict[str, Severity] = {"critical": "bad", "bad": "bad", "error": "bad", "note": "note", "info": "note"}


class NotesAt(msgspec.Struct, frozen=True):
    """What was known at a moment: nothing that happened later."""

    plans: tuple[Plan, ...] = ()
    events: tuple[EventRecord, ...] = ()
    """Newest first."""
    alerts: tuple[AlertView, ...] = ()


class HistoryNotes:
    """Reads a history through a connection of its own; every call blocks, so call it on a thread."""

    def __init__(self, path: Path) -> None:
        self._reader = HistoryReader(path)

    def read(self, now: float) -> NotesAt | None:
        """What was known at `now`; None while there is no history to read."""
        try:
            return self._reader.read(lambda history: _remembered(history, now))
        except (UserError, sqlite3.Error):
            return None

    def left_standing(self, now: float) -> list[AlertRecord]:
        """The alerts that stood when the last watcher left, where that is not long ago; none without a history."""
        try:
            return self._reader.read(lambda history: _left_standing(history, now))
        except (UserError, sqlite3.Error):
            return []

    def earlier(self, servers: Sequence[str], now: float) -> list[RecentHistory]:
        """What the sparklines of these servers begin with; none without a history."""
        try:
            return earlier(self._reader, servers, now)
        except (UserError, sqlite3.Error):
            return []

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def _remembered(history: History, now: float) -> NotesAt:
    # Of the plans of a server for what it ran only the newest is ever asked for.
    newest = {(one.identity, one.server): one for one in history.plans.every() if one.created_at <= now}
    plans = [read_or_columns(record) for record in newest.values()]
    events = history.polls.events(now - _LOOK_BACK_SECONDS, now + 1e-6)
    alerts = history.polls.alerts(now - _LOOK_BACK_SECONDS, now + 1e-6)
    return NotesAt(plans=tuple(plans), events=tuple(reversed(events[-_EVENTS_KEPT:])), alerts=seen_at(alerts, now))


def _left_standing(history: History, now: float) -> list[AlertRecord]:
    """Alerts that nobody ended, or that the next writer ended with the last poll of their server."""
    polled = point_in_time.last_seen(history)
    return [
        alert
        for alert in history.polls.alerts(now - _SAME_ALERT_SECONDS, now + 1e-6)
        if (seen := polled.get(alert.server)) is not None
        and seen >= now - _SAME_ALERT_SECONDS
        and (alert.ended_at is None or alert.ended_at >= seen)
    ]


def seen_at(alerts: Sequence[AlertRecord], now: float) -> tuple[AlertView, ...]:
    """Alerts as a screen showed them at `now`: one that ended later still stood."""
    return standing_first([_view(alert, now) for alert in alerts if alert.started_at <= now])


def _view(alert: AlertRecord, now: float) -> AlertView:
    over = alert.ended_at is not None and alert.ended_at <= now
    return AlertView(
        server=alert.server,
        gpu_id=alert.gpu_id,
        rule=alert.rule,
        severity=_SEVERITIES.get(alert.severity, "warn"),
        since=alert.started_at,
        until=alert.ended_at if over else None,
        sentence=told(alert),
        spread=spread(alert),
    )


def alert_view(alert: Alert) -> AlertView:
    """An alert as the screens need it, with what its figure did meanwhile."""
    return AlertView(
        server=alert.server,
        gpu_id=alert.gpu_id,
        rule=alert.rule,
        severity="bad" if alert.severity == "critical" else "warn",
        since=alert.since,
        until=alert.until,
        sentence=told(alert.record()),
        spread=spread(alert.record()),
    )
