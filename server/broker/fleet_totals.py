"""What the fleet counted since the broker knows it: sums that a member's restart, or its leaving, does not lower.

Percentiles do not add up, counts do: those of the last minute are made of what the members' histograms counted from one
reading to the next.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from server.sessions.clock import now
from server.sessions.counters import WINDOW_SECONDS, Rolling, latency_block
from whisper_ops import wire
from whisper_ops.histogram import BUCKETS, difference

LATENCIES = ("lag", "final", "setup")
_GAUGES = frozenset({"active_connections", "tickets_waiting"})
"""Integers of `/performance` that are no counters."""

_MEANS = ("connection_duration_s", "audio_chunks_per_connection", "transcriptions_per_connection")
_SUMS = frozenset({*_MEANS, *(f"{kind}_sum_s" for kind in LATENCIES)})
"""Rounded figures: a later one may be a rounding less than the one before."""

Key = tuple[str, str | int]
"""A field of `/performance`, and its reason or bucket; "" where it has none."""


class _MemberCounts(NamedTuple):
    server_id: str | None
    counts: Counter[Key]


class FleetTotals:
    """Members are known by their addresses."""

    def __init__(self) -> None:
        self._newest: dict[str, _MemberCounts] = {}
        self._carried: Counter[Key] = Counter()
        """Of servers that were restarted or left."""
        self._latencies = {kind: Rolling() for kind in LATENCIES}
        self._turned_at: float | None = None
        self._slowest: float | None = None
        self._fastest: float | None = None

    def add(self, member: str, snapshot: wire.ServerSnapshot) -> None:
        """Count what a member has counted since its last snapshot."""
        counts = _flat(snapshot.performance)
        before = self._newest.get(member)
        earlier = before.counts if before is not None else Counter[Key]()
        if before is not None and not (before.server_id == snapshot.server_id and _goes_on(earlier, counts)):
            self._carried.update(earlier)
            earlier = Counter()
        self._turn()
        for kind, rolling in self._latencies.items():
            seconds = float(counts[f"{kind}_sum_s", ""] - earlier[f"{kind}_sum_s", ""])
            # When the first snapshot's latencies were, nobody knows.
            rolling.add(
                difference(_buckets(counts, kind), _buckets(earlier, kind)), seconds, is_recent=before is not None
            )
        self._newest[member] = _MemberCounts(snapshot.server_id, counts)
        extremes = snapshot.performance.extremes
        self._slowest = max((x for x in (self._slowest, extremes.slowest_setup_ms) if x is not None), default=None)
        self._fastest = min((x for x in (self._fastest, extremes.fastest_setup_ms) if x is not None), default=None)

    def leave(self, member: str) -> None:
        """A member is no part of the fleet any more; what it counted stays counted."""
        if (newest := self._newest.pop(member, None)) is not None:
            self._carried.update(newest.counts)

    def _turn(self) -> None:
        """Move the last minute on by the whole seconds since it was moved last."""
        if self._turned_at is None:
            self._turned_at = now()
        seconds = int(now() - self._turned_at)
        self._turned_at += seconds
        for rolling in self._latencies.values():
            for _ in range(min(seconds, WINDOW_SECONDS)):
                rolling.turn()

    def performance(self, live: Sequence[wire.Performance], refused: Counter[str]) -> wire.Performance:
        """The fleet's: counters of all members, gauges of those that are live, and the broker's own refusals."""
        self._turn()
        sums: Counter[Key] = Counter(self._carried)
        for _, counts in self._newest.values():
            sums.update(counts)
        rejected = _by_reason(sums, "rejected_total")
        rejected.update(refused)
        whole = {
            name: int(sums[name, ""])
            for name, kind in wire.Performance.__annotations__.items()
            if kind is int and name not in _GAUGES
        }
        intervals = [(one.latency.partial_interval_s, one.active_connections) for one in live]
        return wire.Performance(
            **whole,
            active_connections=sum(one.active_connections for one in live),
            tickets_waiting=sum(one.tickets_waiting for one in live),
            rejected_total=dict(rejected),
            flooded_total=dict(_by_reason(sums, "flooded_total")),
            averages=self._averages(sums),
            extremes=wire.Extremes(slowest_setup_ms=self._slowest, fastest_setup_ms=self._fastest),
            latency=latency_block(**self._latencies, partial_interval_s=_weighted_mean(intervals)),
        )

    def _averages(self, sums: Counter[Key]) -> wire.Averages:
        ended = sums["total_completed_connections", ""] + sums["failed_total", ""]
        setup = self._latencies["setup"].total
        return wire.Averages(
            setup_time_ms=1000 * setup.sum_seconds / setup.total if setup.total else None,
            **{name: sums[name, ""] / ended if ended else None for name in _MEANS},
        )


def _flat(performance: wire.Performance) -> Counter[Key]:
    """Every counter, in one table."""
    flat: Counter[Key] = Counter()
    for name, value in msgspec.structs.asdict(performance).items():
        if isinstance(value, int) and name not in _GAUGES:
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


def _goes_on(earlier: Counter[Key], later: Counter[Key]) -> bool:
    """Whether no counter went down."""
    return all(later[key] >= count for key, count in earlier.items() if key[0] not in _SUMS)


def _buckets(flat: Counter[Key], kind: str) -> list[int]:
    return [flat[kind, bucket] for bucket in range(BUCKETS)]


def _by_reason(sums: Counter[Key], name: str) -> Counter[str]:
    return Counter({str(key): count for (kind, key), count in sums.items() if kind == name})


def _weighted_mean(values: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in values if value is not None and weight]
    weights = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / weights if weights else None
