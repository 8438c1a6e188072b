"""What the screens show at one moment: the frozen `World`, which `FleetState` makes of the polls."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from dashboard.planned_limits import PlannedLimit
from whisper_ops.history import EventRecord
from whisper_ops.objective import DEFAULT_LAG_SECONDS
from whisper_ops.plan.plan_document import Plan
from whisper_ops.snapshot import Snapshot

Mode = Literal["live", "paused", "replay"]
Severity = Literal["note", "warn", "bad"]

STALE_AFTER_SECONDS = 10.0
"""A last answer older than this, and than three polls, is stale."""


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as a screen shows it."""

    server: str
    gpu_id: int | None = None
    rule: str
    severity: Severity
    since: float
    until: float | None = None
    """When it cleared; None while it stands."""
    sentence: str
    spread: str = ""
    """The least, mean and greatest value of its figure, as text; empty where they say nothing."""

    @property
    def key(self) -> tuple[str, int | None, str]:
        """Where it is, and its rule: at most one of a key lasts at a time."""
        return self.server, self.gpu_id, self.rule


class GpuTrend(msgspec.Struct, frozen=True):
    """The lag of one GPU in each bin of its sparkline, oldest first."""

    gpu_id: int
    lag: tuple[float | None, ...]


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """A server at one moment: its newest poll, its newest answer, and the lag of the last minutes."""

    name: str
    address: str | None = None
    """Host and port, where it has another name and they are known."""
    newest: Snapshot | None
    """None before the first poll came back."""
    answer: Snapshot | None
    """The newest poll with figures: what a silent server's row shows, with its age."""
    silent_since: float | None = None
    next_try_at: float | None = None
    lag: tuple[float | None, ...] = ()
    gpu_lag: tuple[GpuTrend, ...] = ()
    rejects_per_minute: float | None = None
    planned: PlannedLimit | None = None
    alerts: tuple[AlertView, ...] = ()

    @property
    def silent(self) -> bool:
        return self.newest is not None and self.newest.state == "silent"

    @property
    def simulated(self) -> bool:
        """Whether its figures come from a simulation."""
        return bool(self.answer and self.answer.identity and self.answer.identity.simulated)


class DashboardCost(msgspec.Struct, frozen=True):
    """The dashboard's own cost."""

    cpu_ratio: float | None = None
    """Of one core."""
    poll_p95_seconds: float | None = None
    memory_bytes: float | None = None


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a screen may show, at one moment."""

    now: float
    """The time cursor: the present, the moment of a pause, or a moment of the past."""
    mode: Mode = "live"
    interval: float = 1.0
    speed: float = 1.0
    """Of a replay, in seconds a second; 0 while it stands still."""
    servers: tuple[ServerView, ...] = ()
    alerts: tuple[AlertView, ...] = ()
    """Standing ones first, newest first among each."""
    events: tuple[EventRecord, ...] = ()
    """Newest first."""
    plans: tuple[Plan, ...] = ()
    objective_override_seconds: float | None = None
    """The p95 lag that `--objective` names, in place of what plans were measured for."""
    cost: DashboardCost = DashboardCost()
    recording: str | None = None
    """Where polls are written, as a sentence."""
    trouble: str | None = None
    """Why no polls are written, though they should be."""

    def server(self, name: str) -> ServerView | None:
        return next((server for server in self.servers if server.name == name), None)

    def objective_for(self, server: ServerView | None) -> float:
        """The p95 lag in seconds that a server is judged by: its own plan's, else the strictest of the others'."""
        return server.planned.objective_seconds if server and server.planned else self.objective_seconds

    @property
    def objective_seconds(self) -> float:
        """The strictest lag objective of all plans in use."""
        if self.objective_override_seconds is not None:
            return self.objective_override_seconds
        return min((s.planned.objective_seconds for s in self.servers if s.planned), default=DEFAULT_LAG_SECONDS)


def stale(snapshot: Snapshot, now: float, interval: float) -> bool:
    """Whether an answer is too old to be called the present."""
    return now - snapshot.at > max(STALE_AFTER_SECONDS, 3 * interval)


def standing_first(alerts: Sequence[AlertView]) -> tuple[AlertView, ...]:
    """Standing alerts before past ones, the newest first among each."""
    return tuple(sorted(alerts, key=lambda alert: (alert.until is not None, -alert.since)))
