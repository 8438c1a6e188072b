"""What the history remembers besides readings: plans, events and alerts. Imports no textual."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dashboard.alerts import Alert
from dashboard.view.world import AlertView, Severity, standing_first
from whisper_ops.errors import UserError
from whisper_ops.history import AlertRecord, EventRecord, History, PlanRecord

_EVENTS_KEPT = 500
_LOOK_BACK_SECONDS = 7 * 86400.0
_SEVERITIES: dict[str, Severity] = {"critical": "bad", "bad": "bad", "error": "bad", "note": "note", "info": "note"}


class Remembered(msgspec.Struct, frozen=True):
    """What was known at a moment: nothing that happened later."""

    plans: tuple[PlanRecord, ...] = ()
    events: tuple[EventRecord, ...] = ()
    """Newest first."""
    alerts: tuple[AlertView, ...] = ()


class Memory:
    """Reads a history through a connection of its own; every call blocks, so call it on a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._history: History | None = None
        self._lock = threading.Lock()

    def read(self, now: float) -> Remembered | None:
        """What was known at `now`; None while there is no history to read."""
        with self._lock:
            try:
                if self._history is None:
                    self._history = History.reading(self._path)
                plans = [plan for plan in self._history.plans() if plan.created_at <= now]
                events = self._history.events(now - _LOOK_BACK_SECONDS, now + 1e-6)
                alerts = self._history.alerts(now - _LOOK_BACK_SECONDS, now + 1e-6)
            except (UserError, sqlite3.Error):
                return None
        return Remembered(
            plans=tuple(plans), events=tuple(reversed(events[-_EVENTS_KEPT:])), alerts=seen_at(alerts, now)
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._history is not None:
                self._history.close()
                self._history = None


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
    )


def told(alert: AlertRecord) -> str:
    """Its sentence without the place, which stands beside it on every screen, and with what its figure did."""
    sentence = alert.sentence.split(": ", 1)[-1]
    if alert.min_value is None or alert.mean_value is None or alert.max_value is None:
        return sentence
    if alert.min_value == alert.max_value:
        return sentence
    return f"{sentence} (min {alert.min_value:.3g} avg {alert.mean_value:.3g} max {alert.max_value:.3g})"
