"""What the planner asks of ordinary polls. A history may hold tens of millions, so SQLite aggregates them."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from whisper_ops.history.store import History
from whisper_ops.identity import Identity
from whisper_ops.server_names import canonical_name, same_machine
from whisper_ops.snapshot import Snapshot

GPU_FIGURES = {
    "gpu_memory_used_bytes": "memory_used_bytes",
    "server_busy_ratio": "busy_ratio",
    "gpu_lag_p95_seconds": "lag_p95_seconds",
    "batch_fill": "batch_fill_mean",
    "compute_p95_seconds": "compute_p95_seconds",
}
"""A planner's figure, and its column in `gpu_sample`."""
SERVER_FIGURES = {
    "server_lag_p95_seconds": "s.lag_p95_seconds",
    "ready_p50_seconds": "s.setup_mean_seconds",
    "front_cpu_ratio": "h.front_cpu_ratio",
    "host_cpu_ratio": "h.cpu_ratio",
    "server_rss_bytes": "h.process_rss_bytes",
    "server_descriptors": "h.open_descriptors",
}
"""The same for `server_sample` (s) and `host_sample` (h)."""


class RunPeriod(NamedTuple):
    """What a server ran from one moment until another."""

    server_id: int
    server: str
    identity: Identity
    since: float
    until: float


class PolledLoad(NamedTuple):
    """The means of figures over the polls of a window that had one number of streams."""

    streams: float
    figures: dict[str, Any]
    full: bool = False
    """Whether all slots were ever taken meanwhile."""


def names_of(history: History, server: str) -> list[str]:
    """The names under which a server was polled: its own, with or without a scheme.

    Software that has its figures at another port was polled there: by that name, where its machine has one such server.
    """
    polled = history.polls.servers()
    own = [name for name in polled if canonical_name(name) == canonical_name(server)]
    return own or _beside(history, server, polled)


def _beside(history: History, server: str, polled: Iterable[str]) -> list[str]:
    swept = {(canonical_name(one.sweep.server), one.sweep.software) for one in history.sweeps.every()}
    for software in {software for name, software in swept if name == canonical_name(server)}:
        streams = {name for name, what in swept if what == software and same_machine(name, server, software)}
        figures = [name for name in polled if same_machine(name, server, software) and software in _ran(history, name)]
        if len(streams) == len(figures) == 1:
            return figures
    return []


def _ran(history: History, name: str) -> set[str | None]:
    """The software that was polled under a name."""
    rows = history.database.rows(
        "SELECT DISTINCT i.software FROM server_identity i JOIN server ON server.id = i.server_id "
        "WHERE server.name = ?",
        [name],
    )
    return {Identity(software=row["software"]).software for row in rows}


def runs(history: History, server: str | None = None) -> list[RunPeriod]:
    """What was polled, oldest first; of one server only where it is named."""
    found: list[RunPeriod] = []
    for name in history.polls.servers() if server is None else names_of(history, server):
        rows = list(
            history.database.rows(
                "SELECT i.* FROM server_identity i JOIN server ON server.id = i.server_id WHERE server.name = ? "
                "ORDER BY i.at",
                [name],
            )
        )
        ends = [*(row["at"] for row in rows[1:]), float("inf")][: len(rows)]  # some never said what they run
        found += [
            RunPeriod(row["server_id"], name, _identity(row), row["at"], until)
            for row, until in zip(rows, ends, strict=True)
        ]
    return sorted(found, key=lambda ran: ran.since)


def gpus(history: History, server_id: int) -> int:
    """How many GPUs a server ever named; 1 where it named none."""
    (row,) = history.database.rows(
        "SELECT count(DISTINCT gpu_id) AS gpus FROM gpu_identity WHERE server_id = ?", [server_id]
    )
    return int(row["gpus"]) or 1


def polled_between(history: History, ran: RunPeriod) -> tuple[float, float] | None:
    """The first and the last poll of a run; None where it was never polled."""
    ends = []
    for order in ("ASC", "DESC"):
        rows = history.database.rows(
            f"SELECT at FROM server_sample WHERE server_id = ? AND at >= ? AND at < ? ORDER BY at {order} LIMIT 1",
            [ran.server_id, ran.since, ran.until],
        )
        ends += [float(row["at"]) for row in rows]
    return (ends[0], ends[1]) if len(ends) == 2 else None


def gpu_loads(history: History, server_id: int, since: float, until: float) -> Iterator[PolledLoad]:
    """The figures of GPUs with `since <= at < until`, by the number of streams on the GPU."""
    figures = ", ".join(f"avg({column}) AS {name}" for name, column in GPU_FIGURES.items())
    rows = history.database.rows(
        f"SELECT streams_active AS load, {figures} FROM gpu_sample "
        "WHERE server_id = ? AND at >= ? AND at < ? AND streams_active IS NOT NULL GROUP BY streams_active",
        [server_id, since, until],
    )
    return (PolledLoad(float(row["load"]), row) for row in rows)


def server_loads(history: History, server_id: int, since: float, until: float) -> Iterator[PolledLoad]:
    """The figures of a server and its host with `since <= at < until`, by the number of streams on the server."""
    figures = ", ".join(f"avg({column}) AS {name}" for name, column in SERVER_FIGURES.items())
    rows = history.database.rows(
        f"SELECT s.streams_active AS load, max(s.slots_used >= s.slots) AS full, {figures} "
        "FROM server_sample s LEFT JOIN host_sample h ON h.server_id = s.server_id AND h.at = s.at "
        "WHERE s.server_id = ? AND s.at >= ? AND s.at < ? AND s.error IS NULL AND s.streams_active IS NOT NULL "
        "GROUP BY s.streams_active",
        [server_id, since, until],
    )
    return (PolledLoad(float(row["load"]), row, bool(row["full"])) for row in rows)


def last_live_poll(history: History, server: str, before: float) -> Snapshot | None:
    """The last answer of a server before a moment; None when there is none."""
    for name in names_of(history, server):
        rows = history.database.rows(
            "SELECT at FROM server_sample WHERE server_id = (SELECT id FROM server WHERE name = ?) AND at < ? "
            "AND error IS NULL ORDER BY at DESC LIMIT 1",
            [name, before],
        )
        for row in rows:
            return next(history.polls.between(name, row["at"], row["at"] + 1e-3), None)
    return None


def daily_peaks(history: History, server: str) -> dict[float, float]:
    """The most live connections of every day that was polled, by days since the epoch: from rollups where they are."""
    found: dict[float, float] = {}
    for name in names_of(history, server):
        for table in ("server_hour", "server_minute"):
            _raise(found, history, f"max(streams_active_max) AS peak FROM {table}", name)
        if not found:
            _raise(found, history, "max(streams_active) AS peak FROM server_sample", name)
    return found


def _raise(found: dict[float, float], history: History, what: str, server: str) -> None:
    rows = history.database.rows(
        f"SELECT CAST(at / 86400 AS INTEGER) AS day, {what} "
        "WHERE server_id = (SELECT id FROM server WHERE name = ?) GROUP BY day",
        [server],
    )
    for row in rows:
        if row["peak"] is not None:
            day = float(row["day"])
            found[day] = max(found.get(day, 0.0), float(row["peak"]))


def _identity(row: dict[str, Any]) -> Identity:
    known = {name: row[name] for name in Identity.__struct_fields__ if name in row and row[name] is not None}
    return msgspec.convert(known, Identity, strict=False)
