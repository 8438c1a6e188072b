"""The fleet as its polls arrive, from pollers or from the history; `world` takes a frozen picture of it.

Live and replay differ only in who hands in the polls: pollers, or the history up to a time cursor. So a replayed screen
is the live screen.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from dashboard.planned_limits import PlannedLimit, planned_limit_of
from dashboard.trend import Rate, Trend
from dashboard.world import AlertView, DashboardCost, GpuTrend, Mode, ServerView, World
from whisper_ops.history import EventRecord
from whisper_ops.plan.plan_document import Plan
from whisper_ops.snapshot import ServerFigures, Snapshot


class PolledFigures(NamedTuple):
    """What a server's sparkline and rates need of one poll, or of the worst one in a bin of the sparkline."""

    at: float
    answered: bool
    lag: float | None
    rejected_total: int | None


class GpuLag(NamedTuple):
    """A lag of one GPU; it may be the worst of several polls in one bin of a sparkline."""

    gpu_id: int
    at: float
    lag: float | None


class _ServerState:
    """What is known of one server."""

    __slots__ = ("answer", "gpu_trends", "newest", "next_try_at", "rejects", "silent_since", "trend")

    def __init__(self) -> None:
        self.newest: Snapshot | None = None
        self.answer: Snapshot | None = None
        self.silent_since: float | None = None
        self.next_try_at: float | None = None
        self.trend = Trend()
        self.gpu_trends: dict[int, Trend] = {}
        self.rejects = Rate()

    def take(self, snapshot: Snapshot) -> None:
        figures = snapshot.figures or ServerFigures()
        self.newest = snapshot
        self.take_figures(
            PolledFigures(snapshot.at, snapshot.state == "live", figures.lag_p95_seconds, figures.rejected_total)
        )
        if snapshot.state == "live":
            self.answer = snapshot
            for gpu in snapshot.gpus:
                self.gpu_trend(gpu.gpu_id).add(snapshot.at, gpu.lag_p95_seconds)

    def take_figures(self, poll: PolledFigures) -> None:
        self.trend.add(poll.at, poll.lag if poll.answered else None)
        if poll.answered:
            self.silent_since = None
            self.rejects.add(poll.at, poll.rejected_total)
        else:
            self.silent_since = self.silent_since or poll.at

    def gpu_trend(self, gpu_id: int) -> Trend:
        return self.gpu_trends.setdefault(gpu_id, Trend())


class FleetState:
    """Takes polls and says at any time what a screen shows of them."""

    def __init__(self, servers: Iterable[str] = ()) -> None:
        self._servers = {name: _ServerState() for name in servers}
        self.plans: tuple[Plan, ...] = ()
        self.alerts: tuple[AlertView, ...] = ()
        self.events: tuple[EventRecord, ...] = ()
        self.objective_override_seconds: float | None = None
        """As `World` has it."""
        self.addresses: Mapping[str, str] = {}
        """Host and port of servers that have another name."""

    def take(self, snapshot: Snapshot, next_try_at: float | None = None) -> None:
        """Take one poll, in the order of time for each server."""
        server = self._servers.setdefault(snapshot.server, _ServerState())
        server.next_try_at = next_try_at
        server.take(snapshot)

    def forget(self, server: str) -> None:
        """A server that is polled no more has no row any more."""
        self._servers.pop(server, None)

    def restore(self, newest: Snapshot, answer: Snapshot, polls: Iterable[PolledFigures]) -> None:
        """Take all polls of a server at once: its newest, its newest answer, and in order what trends need of all."""
        server = self._servers[newest.server] = _ServerState()
        server.newest, server.answer = newest, answer
        for poll in polls:
            server.take_figures(poll)

    def restore_gpu_lags(self, server: str, lags: Iterable[GpuLag]) -> None:
        """Take the lags of a server's GPUs up to its newest poll, in the order of time."""
        for gpu_id, at, lag in lags:
            self._servers[server].gpu_trend(gpu_id).add(at, lag)

    def prepend(self, server: str, lags: Iterable[tuple[float, float | None]], gpu_lags: Iterable[GpuLag]) -> None:
        """Take the lags of the time before the first poll, as (time, lag) and by GPU, each in the order of time."""
        state = self._servers.get(server)
        if state is None:
            return
        state.trend.prepend(lags)
        by_gpu: dict[int, list[tuple[float, float | None]]] = {}
        for gpu_id, at, lag in gpu_lags:
            by_gpu.setdefault(gpu_id, []).append((at, lag))
        for gpu_id, earlier in by_gpu.items():
            state.gpu_trend(gpu_id).prepend(earlier)

    def world(
        self,
        now: float,
        mode: Mode = "live",
        interval: float = 1.0,
        speed: float = 1.0,
        cost: DashboardCost | None = None,
    ) -> World:
        """A frozen picture at `now`."""
        return World(
            now=now,
            mode=mode,
            interval=interval,
            speed=speed,
            servers=tuple(self._view(name, state, now) for name, state in self._servers.items()),
            alerts=self.alerts,
            events=self.events,
            plans=self.plans,
            objective_override_seconds=self.objective_override_seconds,
            cost=cost or DashboardCost(),
        )

    def _view(self, name: str, state: _ServerState, now: float) -> ServerView:
        return ServerView(
            name=name,
            address=self.addresses.get(name),
            newest=state.newest,
            answer=state.answer,
            silent_since=state.silent_since,
            next_try_at=state.next_try_at,
            lag=state.trend.values(now),
            gpu_lag=tuple(GpuTrend(gpu_id, trend.values(now)) for gpu_id, trend in state.gpu_trends.items()),
            rejects_per_minute=None if state.silent_since else state.rejects.per_minute(now),
            planned=self._planned(name, state.answer),
            alerts=tuple(alert for alert in self.alerts if alert.server == name and alert.until is None),
        )

    def _planned(self, name: str, answer: Snapshot | None) -> PlannedLimit | None:
        planned = None if answer is None else planned_limit_of(answer, self.plans, self.addresses.get(name))
        if planned is None or self.objective_override_seconds is None:
            return planned
        return msgspec.structs.replace(planned, objective_seconds=self.objective_override_seconds)
