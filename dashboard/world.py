"""What the screens show at one moment: the frozen `World`, and the `Board` that polls are written on.

Live and replay differ only in who feeds the board: pollers, or the history up to a time cursor. So a replayed screen
is the live screen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from dashboard.planned_limits import PlannedLimit, knee_for
from dashboard.trend import Rate, Trend
from whisper_ops.history import EventRecord
from whisper_ops.objective import DEFAULT_LAG_SECONDS
from whisper_ops.plan.plan_document import Plan
from whisper_ops.snapshot import Snapshot

Mode = Literal["live", "paused", "replay"]
Severity = Literal["note", "warn", "bad"]

STALE_AFTER_SECONDS = 10.0
"""A last answer older than this, and than three polls, is stale."""


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as the screens need it, whoever raised it."""

    server: str
    gpu_id: int | None = None
    rule: str
    severity: Severity
    since: float
    until: float | None = None
    """When it cleared; None while it stands."""
    sentence: str
    spread: str = ""
    """What its figure did meanwhile, where there is room to say it."""


class GpuTrend(msgspec.Struct, frozen=True):
    """The last minutes of one GPU's lag."""

    gpu_id: int
    lag: tuple[float | None, ...]


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """A server at one moment: its newest poll, the last one with an answer, and its last minutes."""

    name: str
    address: str | None = None
    """Host and port, where it has another name and they are known."""
    newest: Snapshot | None
    """None before the first poll came back."""
    answer: Snapshot | None
    """The newest poll with figures: what silent servers are shown by, with its age."""
    silent_since: float | None = None
    next_try_at: float | None = None
    lag: tuple[float | None, ...] = ()
    gpu_lag: tuple[GpuTrend, ...] = ()
    rejects_per_minute: float | None = None
    knee: PlannedLimit | None = None
    alerts: tuple[AlertView, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether the newest poll brought no answer."""
        return self.newest is not None and self.newest.state == "silent"

    @property
    def simulated(self) -> bool:
        """Whether its figures come from a simulation."""
        return bool(self.answer and self.answer.identity and self.answer.identity.simulated)


class SelfView(msgspec.Struct, frozen=True):
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
    asked_seconds: float | None = None
    """The lag that the person at the screen asked to be judged by, instead of what plans were measured for."""
    itself: SelfView = SelfView()
    recording: str | None = None
    """Where polls are written."""
    trouble: str | None = None
    """Why they are not, though they should be."""

    def server(self, name: str) -> ServerView | None:
        """The server of that name."""
        return next((server for server in self.servers if server.name == name), None)

    def objective_for(self, server: ServerView | None) -> float:
        """The lag that a server is judged by: what its own plan was measured for, else the strictest of the others."""
        return server.knee.objective_seconds if server and server.knee else self.objective_seconds

    @property
    def objective_seconds(self) -> float:
        """The strictest lag objective of all plans in use."""
        if self.asked_seconds is not None:
            return self.asked_seconds
        return min((s.knee.objective_seconds for s in self.servers if s.knee), default=DEFAULT_LAG_SECONDS)


class PolledFigures(NamedTuple):
    """What a server's sparkline and rates need of one poll."""

    at: float
    answered: bool
    lag: float | None
    rejected_total: int | None


class GpuLag(NamedTuple):
    """A lag of one GPU; it may be the worst of several polls in one bin of a sparkline."""

    gpu_id: int
    at: float
    lag: float | None


class _Slot:
    """What the board holds of one server."""

    __slots__ = ("answer", "gpu_trends", "newest", "next_try_at", "rejects", "silent_since", "trend")

    def __init__(self) -> None:
        self.newest: Snapshot | None = None
        self.answer: Snapshot | None = None
        self.silent_since: float | None = None
        self.next_try_at: float | None = None
        self.trend = Trend()
        self.gpu_trends: dict[int, Trend] = {}
        self.rejects = Rate()


class Board:
    """Where polls arrive, from pollers or from the history; `world` takes a frozen picture of it."""

    def __init__(self, servers: Iterable[str] = ()) -> None:
        self._slots: dict[str, _Slot] = {name: _Slot() for name in servers}
        self.plans: tuple[Plan, ...] = ()
        self.alerts: tuple[AlertView, ...] = ()
        self.events: tuple[EventRecord, ...] = ()
        self.asked_seconds: float | None = None
        self.addresses: Mapping[str, str] = {}
        """Of servers that have another name."""

    def feed(self, snapshot: Snapshot, next_try_at: float | None = None) -> None:
        """Take one poll, in the order of time for each server."""
        slot = self._slots.setdefault(snapshot.server, _Slot())
        slot.newest = snapshot
        slot.next_try_at = next_try_at
        if snapshot.state == "silent":
            slot.silent_since = slot.silent_since or snapshot.at
            slot.trend.add(snapshot.at, None)
            return
        slot.answer, slot.silent_since = snapshot, None
        figures = snapshot.figures
        slot.trend.add(snapshot.at, figures.lag_p95_seconds if figures else None)
        slot.rejects.add(snapshot.at, figures.rejected_total if figures else None)
        for gpu in snapshot.gpus:
            slot.gpu_trends.setdefault(gpu.gpu_id, Trend()).add(snapshot.at, gpu.lag_p95_seconds)

    def forget(self, server: str) -> None:
        """A server that is polled no more has no row any more."""
        self._slots.pop(server, None)

    def recall(self, newest: Snapshot, answer: Snapshot, readings: Iterable[PolledFigures]) -> None:
        """Take all polls of a server at once: its newest, its last answer, and in their order what trends need."""
        slot = self._slots[newest.server] = _Slot()
        slot.newest, slot.answer = newest, answer
        for at, answered, lag, rejected_total in readings:
            slot.silent_since = None if answered else slot.silent_since or at
            slot.trend.add(at, lag if answered else None)
            slot.rejects.add(at, rejected_total)

    def precede(self, server: str, lags: Iterable[tuple[float, float | None]], gpu_lags: Iterable[GpuLag]) -> None:
        """Take what sparklines need of the time before the first poll, each in the order of time."""
        slot = self._slots.get(server)
        if slot is None:
            return
        slot.trend.precede(lags)
        of_gpus: dict[int, list[tuple[float, float | None]]] = {}
        for gpu_id, at, lag in gpu_lags:
            of_gpus.setdefault(gpu_id, []).append((at, lag))
        for gpu_id, found in of_gpus.items():
            slot.gpu_trends.setdefault(gpu_id, Trend()).precede(found)

    def recall_gpus(self, server: str, lags: Iterable[GpuLag]) -> None:
        """Take the lags of a server's GPUs up to its newest poll, in the order of time."""
        for gpu_id, at, lag in lags:
            self._slots[server].gpu_trends.setdefault(gpu_id, Trend()).add(at, lag)

    def world(
        self, now: float, mode: Mode = "live", interval: float = 1.0, speed: float = 1.0, itself: SelfView | None = None
    ) -> World:
        """A frozen picture at `now`."""
        servers = tuple(self._view(name, slot, now) for name, slot in self._slots.items())
        return World(
            now=now,
            mode=mode,
            interval=interval,
            speed=speed,
            servers=servers,
            alerts=self.alerts,
            events=self.events,
            plans=self.plans,
            asked_seconds=self.asked_seconds,
            itself=itself or SelfView(),
        )

    def _view(self, name: str, slot: _Slot, now: float) -> ServerView:
        alerts = tuple(alert for alert in self.alerts if alert.server == name and alert.until is None)
        knee = self._knee(name, slot)
        return ServerView(
            name=name,
            address=self.addresses.get(name),
            newest=slot.newest,
            answer=slot.answer,
            silent_since=slot.silent_since,
            next_try_at=slot.next_try_at,
            lag=slot.trend.values(now),
            gpu_lag=tuple(GpuTrend(gpu_id, trend.values(now)) for gpu_id, trend in slot.gpu_trends.items()),
            rejects_per_minute=None if slot.silent_since else slot.rejects.per_minute(now),
            knee=knee,
            alerts=alerts,
        )

    def _knee(self, name: str, slot: _Slot) -> PlannedLimit | None:
        knee = None if slot.answer is None else knee_for(slot.answer, self.plans, self.addresses.get(name))
        if knee is None or self.asked_seconds is None:
            return knee
        return msgspec.structs.replace(knee, objective_seconds=self.asked_seconds)


def stale(snapshot: Snapshot, now: float, interval: float) -> bool:
    """Whether an answer is too old to be called the present."""
    return now - snapshot.at > max(STALE_AFTER_SECONDS, 3 * interval)


def standing_first(alerts: Sequence[AlertView]) -> tuple[AlertView, ...]:
    """Standing alerts before past ones, the newest first among each."""
    return tuple(sorted(alerts, key=lambda alert: (alert.until is not None, -alert.since)))
