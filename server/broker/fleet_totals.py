"""What the fleet counted since the broker knows it: sums that a member's restart, or its leaving, does not lower.

Percentiles do not add up, counts do: those of the last minute are made of what the members' histograms counted from one
reading to the next.
"""

from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.sessions.clock import now
from whisper_ops import wire
from whisper_ops.histogram import BUCKETS, difference, quantile

WINDOW_SECONDS = 60.0
LATENCIES = ("lag", "final", "setup")
_NOW = frozenset({"active_connections", "tickets_waiting"})
"""Integers of `/performance` that are of now, and so are summed as they are."""

_MEANS = ("connection_duration_s", "audio_chunks_per_connection", "transcriptions_per_connection")
_SUMS = frozenset({*_MEANS, *(f"{kind}_sum_s" for kind in LATENCIES)})
"""What is no whole number, and may be a rounding less than before."""

Key = tuple[str, str | int]


class _Slice(NamedTuple):
    """What one member's histogram counted between two readings."""

    at: float
    kind: str
    counts: Sequence[int]


class FleetTotals:
    """See the module. A member is known by its address."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str | None, Counter[Key]]] = {}
        self._carried: Counter[Key] = Counter()
        """Of servers that were restarted or left."""
        self._window: deque[_Slice] = deque()
        self._slowest: float | None = None
        self._fastest: float | None = None

    def add(self, member: str, said: wire.ServerSnapshot) -> None:
        """Another reading of a member."""
        counts = _flat(said.performance)
        before = self._last.get(member)
        if before is not None:
            same = before[0] == said.server_id and _goes_on(before[1], counts)
            if not same:
                self._carried.update(before[1])
            self._count(before[1] if same else Counter(), counts)
        self._last[member] = (said.server_id, counts)
        extremes = said.performance.extremes
        self._slowest = max((x for x in (self._slowest, extremes.slowest_setup_ms) if x is not None), default=None)
        self._fastest = min((x for x in (self._fastest, extremes.fastest_setup_ms) if x is not None), default=None)

    def leave(self, member: str) -> None:
        """A member is no part of the fleet any more; what it counted stays counted."""
        if (last := self._last.pop(member, None)) is not None:
            self._carried.update(last[1])

    def _count(self, before: Counter[Key], later: Counter[Key]) -> None:
        at = now()
        for kind in LATENCIES:
            counts = difference(_buckets(later, kind), _buckets(before, kind))
            if any(counts):
                self._window.append(_Slice(at, kind, counts))
        while self._window and self._window[0].at < at - WINDOW_SECONDS:
            self._window.popleft()

    def performance(self, live: Sequence[wire.Performance], refused: Counter[str]) -> wire.Performance:
        """The fleet's, from what was counted and from what its live members say of now."""
        sums: Counter[Key] = Counter(self._carried)
        for _, counts in self._last.values():
            sums.update(counts)
        rejected = _named(sums, "rejected_total")
        rejected.update(refused)
        whole = {
            name: int(sums[name, ""])
            for name, kind in wire.Performance.__annotations__.items()
            if kind is int and name not in _NOW
        }
        return wire.Performance(
            **whole,
            active_connections=sum(one.active_connections for one in live),
            tickets_waiting=sum(one.tickets_waiting for one in live),
            rejected_total=dict(rejected),
            flooded_total=dict(_named(sums, "flooded_total")),
            averages=_averages(sums),
            extremes=wire.Extremes(slowest_setup_ms=self._slowest, fastest_setup_ms=self._fastest),
            latency=self._latency(sums, live),
        )

    def _latency(self, sums: Counter[Key], live: Sequence[wire.Performance]) -> wire.Latency:
        lag50, lag95, lag99 = self._quantiles("lag", 0.5, 0.95, 0.99)
        final50, final95 = self._quantiles("final", 0.5, 0.95)
        setup50, setup95 = self._quantiles("setup", 0.5, 0.95)
        intervals = [(one.latency.partial_interval_s, one.active_connections) for one in live]
        return wire.Latency(
            lag_p50_s=lag50,
            lag_p95_s=lag95,
            lag_p99_s=lag99,
            final_p50_s=final50,
            final_p95_s=final95,
            setup_p50_s=setup50,
            setup_p95_s=setup95,
            partial_interval_s=_weighted(intervals),
            lag_bucket_counts=tuple(_buckets(sums, "lag")),
            final_bucket_counts=tuple(_buckets(sums, "final")),
            setup_bucket_counts=tuple(_buckets(sums, "setup")),
            lag_sum_s=float(sums["lag_sum_s", ""]),
            final_sum_s=float(sums["final_sum_s", ""]),
            setup_sum_s=float(sums["setup_sum_s", ""]),
        )

    def _quantiles(self, kind: str, *shares: float) -> list[float | None]:
        since = now() - WINDOW_SECONDS
        parts = [part.counts for part in self._window if part.kind == kind and part.at >= since]
        counts = [sum(column) for column in zip(*parts, strict=True)]
        return [quantile(counts, share) for share in shares]


def _flat(performance: wire.Performance) -> Counter[Key]:
    """Everything that counts up, in one table."""
    flat: Counter[Key] = Counter()
    for name, value in msgspec.structs.asdict(performance).items():
        if isinstance(value, int) and name not in _NOW:
            flat[name, ""] = value
        elif isinstance(value, dict):
            flat.update({(name, reason): count for reason, count in value.items()})
    latency, averages = performance.latency, performance.averages
    for kind in LATENCIES:
        counts = getattr(latency, f"{kind}_bucket_counts")
        flat.update({(kind, bucket): count for bucket, count in enumerate(counts[:BUCKETS])})
        flat[f"{kind}_sum_s", ""] = getattr(latency, f"{kind}_sum_s")
    ended = performance.total_completed_connections + performance.failed_total
    for name in _MEANS:
        flat[name, ""] = (getattr(averages, name) or 0.0) * ended  # type: ignore[assignment]  # a sum of seconds
    return flat


def _goes_on(before: Counter[Key], later: Counter[Key]) -> bool:
    """Whether nothing that is counted in whole numbers went down; sums of seconds are rounded."""
    return all(later[key] >= count for key, count in before.items() if key[0] not in _SUMS)


def _buckets(flat: Counter[Key], kind: str) -> list[int]:
    return [flat[kind, bucket] for bucket in range(BUCKETS)]


def _named(sums: Counter[Key], name: str) -> Counter[str]:
    return Counter({str(key): count for (kind, key), count in sums.items() if kind == name})


def _averages(sums: Counter[Key]) -> wire.Averages:
    ended = sums["total_completed_connections", ""] + sums["failed_total", ""]
    setups = sum(_buckets(sums, "setup"))

    def mean(name: str) -> float | None:
        return sums[name, ""] / ended if ended else None

    return wire.Averages(
        setup_time_ms=1000 * sums["setup_sum_s", ""] / setups if setups else None,
        connection_duration_s=mean("connection_duration_s"),
        audio_chunks_per_connection=mean("audio_chunks_per_connection"),
        transcriptions_per_connection=mean("transcriptions_per_connection"),
    )


def _weighted(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight]
    weights = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / weights if weights else None
