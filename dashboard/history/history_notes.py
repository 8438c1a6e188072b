"""Plans, events and alerts out of the history, as they were known at a moment. Imports no textual."""

import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dashboard.alerts import Alert
from dashboard.alerts.messages import record_text, value_range
from dashboard.history.history_reader import HistoryReader
from dashboard.history.recent_history import RecentHistory, recent_history
from dashboard.world import AlertView, Severity, standing_first
from whisper_ops.errors import UserError
from whisper_ops.history import AlertRecord, EventRecord, History, point_in_time
from whisper_ops.plan.plan_document import Plan
from whisper_ops.plan.plan_records import read_or_columns

_EVENTS_KEPT = 500
_LOOK_BACK_SECONDS = 7 * 86400.0
_SAME_ALERT_SECONDS = 900.0
"""An alert that lasted before a pause of watching of at most this, and lasts after it, is one alert."""
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
            return self._reader.read(lambda history: _notes_at(history, now))
        except (UserError, sqlite3.Error):
            return None

    def unfinished_alerts(self, now: float) -> list[AlertRecord]:
        """Alerts that lasted when the last watcher ended, at most a quarter of an hour ago; none without a history."""
        try:
            return self._reader.read(lambda history: _unfinished_alerts(history, now))
        except (UserError, sqlite3.Error):
            return []

    def recent(self, servers: Sequence[str], now: float) -> list[RecentHistory]:
        """The lags that the sparklines of these servers begin with; none without a history."""
        try:
            return recent_history(self._reader, servers, now)
        except (UserError, sqlite3.Error):
            return []

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def _notes_at(history: History, now: float) -> NotesAt:
    # Of the plans of a server for what it ran only the newest is ever asked for.
    newest = {(plan.identity, plan.server): plan for plan in history.plans.every() if plan.created_at <= now}
    plans = [read_or_columns(record) for record in newest.values()]
    events = history.polls.events(now - _LOOK_BACK_SECONDS, now + 1e-6)
    alerts = history.polls.alerts(now - _LOOK_BACK_SECONDS, now + 1e-6)
    return NotesAt(plans=tuple(plans), events=tuple(reversed(events[-_EVENTS_KEPT:])), alerts=alerts_at(alerts, now))


def _unfinished_alerts(history: History, now: float) -> list[AlertRecord]:
    """Alerts without an end, and those that the next writer ended at the last poll of their server."""
    polled_at = point_in_time.last_seen(history)
    return [
        alert
        for alert in history.polls.alerts(now - _SAME_ALERT_SECONDS, now + 1e-6)
        if (at := polled_at.get(alert.server)) is not None
        and at >= now - _SAME_ALERT_SECONDS
        and (alert.ended_at is None or alert.ended_at >= at)
    ]


def alerts_at(alerts: Sequence[AlertRecord], now: float) -> tuple[AlertView, ...]:
    """Alerts as a screen showed them at `now`: one that ended later still lasted."""
    return standing_first([record_view(alert, now) for alert in alerts if alert.started_at <= now])


def alert_view(alert: Alert) -> AlertView:
    """An alert of this process as a screen shows it."""
    return record_view(alert.record())


def record_view(alert: AlertRecord, now: float = math.inf) -> AlertView:
    """A stored alert as a screen shows it at `now`."""
    return AlertView(
        server=alert.server,
        gpu_id=alert.gpu_id,
        rule=alert.rule,
        severity=_SEVERITIES.get(alert.severity, "warn"),
        since=alert.started_at,
        until=alert.ended_at if alert.ended_at is not None and alert.ended_at <= now else None,
        sentence=record_text(alert),
        spread=value_range(alert),
    )
