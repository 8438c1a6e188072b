"""Polls into the file: wide rows, with what seldom changes kept apart."""

import sqlite3
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from whisper_ops.histogram import BUCKETS
from whisper_ops.history.slowly_changing import FactKind, FactStore
from whisper_ops.identity import Identity
from whisper_ops.plausible_ranges import possible
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

MINUTE = 60.0

GPU_FACTS = ("uuid", "name", "state", "slots", "memory_total_bytes", "power_limit_watts", "reading_error")
HOST_FACTS = (
    "hostname", "cpu_count", "memory_total_bytes", "descriptors_soft_limit", "descriptors_hard_limit", "tasks_max",
    "somaxconn", "syn_backlog", "port_range_low", "port_range_high", "conntrack_max",
)  # fmt: skip
SERVER_FACTS = ("started_at", "setup_max_seconds", "setup_min_seconds", "reading_error")
IDENTITY_FACTS = (*Identity.__struct_fields__, *SERVER_FACTS)
_BUCKETS = ("lag_bucket_counts",)
_NOT_KEPT = ("other_processes", "other_busy_ratio")
"""A load test keeps what it finds of these with its levels."""


def _others(kind: type[msgspec.Struct], without: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name not in set(without))


SERVER_COLUMNS = _others(ServerFigures, (*SERVER_FACTS, *_BUCKETS))
GPU_COLUMNS = _others(GpuFigures, ("gpu_id", *GPU_FACTS, *_NOT_KEPT))
HOST_COLUMNS = _others(HostFigures, HOST_FACTS)

_server_values = attrgetter(*SERVER_COLUMNS)
_gpu_values = attrgetter(*GPU_COLUMNS)
_host_values = attrgetter(*HOST_COLUMNS)
_gpu_facts = attrgetter(*GPU_FACTS)
_host_facts = attrgetter(*HOST_FACTS)
_server_facts = attrgetter(*SERVER_FACTS)
_identity_facts = attrgetter(*Identity.__struct_fields__)


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


_INSERT_SERVER = _insert("server_sample", ("server_id", "at", "error", "poll_seconds", *SERVER_COLUMNS, *_BUCKETS))
_INSERT_GPU = _insert("gpu_sample", ("server_id", "at", "gpu_id", *GPU_COLUMNS))
_INSERT_HOST = _insert("host_sample", ("server_id", "at", *HOST_COLUMNS))
_NO_FIGURES = ServerFigures()


SERVER = FactKind("server_identity", "server_sample", IDENTITY_FACTS)
GPU = FactKind("gpu_identity", "gpu_sample", GPU_FACTS)
HOST = FactKind("host_identity", "host_sample", HOST_FACTS)
_NO_IDENTITY = (None,) * len(Identity.__struct_fields__)

Row = tuple[Any, ...]


class SampleWriter:
    """Adds snapshots within the caller's transaction; `forget` after one that was rolled back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: dict[str, int] = {}
        self._newest: dict[int, float] = {}
        self._facts = FactStore(connection)
        self._version = -1
        self._servers: list[Row] = []
        self._gpus: list[Row] = []
        self._hosts: list[Row] = []

    def forget(self) -> None:
        """Drop what was looked up: it may be gone with the transaction, or changed by another process."""
        self._ids.clear()
        self._newest.clear()
        self._facts.forget()
        for rows in (self._servers, self._gpus, self._hosts):
            rows.clear()

    def add(self, snapshots: Iterable[Snapshot]) -> None:
        """Insert polls; one of the same server and time is replaced."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self.forget()
            self._version = version
        seen: dict[int, list[float]] = {}
        for snapshot in snapshots:
            server_id = self._server_id(snapshot)
            seen.setdefault(server_id, []).append(snapshot.at)
            self._add(server_id, possible(snapshot))
        self._write()
        self._mark(seen)

    def _add(self, server_id: int, snapshot: Snapshot) -> None:
        at = snapshot.at
        late = at <= self._newest[server_id]
        if late:
            # The facts of a late poll are compared with the polls around it, so those must be in the file.
            self._write()
            self._remove(server_id, at)
        else:
            self._newest[server_id] = at
        if snapshot.state == "live":
            identity = _NO_IDENTITY if snapshot.identity is None else _identity_facts(snapshot.identity)
            facts = _server_facts(snapshot.figures or _NO_FIGURES)
            self._facts.put(SERVER, (server_id,), at, (*identity, *facts), late=late)
        for gpu in snapshot.gpus:
            self._facts.put(GPU, (server_id, gpu.gpu_id), at, _gpu_facts(gpu), late=late)
            self._gpus.append((server_id, at, gpu.gpu_id, *_gpu_values(gpu)))
        if snapshot.host is not None:
            self._facts.put(HOST, (server_id,), at, _host_facts(snapshot.host), late=late)
            self._hosts.append((server_id, at, *_host_values(snapshot.host)))
        self._servers.append(_server_row(server_id, snapshot))

    def _remove(self, server_id: int, at: float) -> None:
        """Remove what may stand there already: its successor may have fewer GPUs, or no host."""
        for table in ("gpu_sample", "host_sample"):
            self._connection.execute(f"DELETE FROM {table} WHERE server_id = ? AND at = ?", [server_id, at])

    def _write(self) -> None:
        for sql, rows in (
            (_INSERT_SERVER, self._servers), (_INSERT_GPU, self._gpus), (_INSERT_HOST, self._hosts)
        ):  # fmt: skip
            self._connection.executemany(sql, rows)
            rows.clear()

    def _mark(self, seen: dict[int, list[float]]) -> None:
        """Note which minutes must be rolled up (again), in the transaction of their rows: no crash parts the two."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO rollup_due (tier, server_id, at) VALUES ('minute', ?, ?)",
            {(server_id, at // MINUTE * MINUTE) for server_id, times in seen.items() for at in times},
        )
        self._connection.executemany(
            "UPDATE server SET last_seen_at = max(last_seen_at, ?), first_seen_at = min(first_seen_at, ?) WHERE id = ?",
            [(max(times), min(times), server_id) for server_id, times in seen.items()],
        )

    def _server_id(self, snapshot: Snapshot) -> int:
        known = self._ids.get(snapshot.server)
        if known is not None:
            return known
        self._connection.execute(
            "INSERT INTO server (name, first_seen_at, last_seen_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
            [snapshot.server, snapshot.at, snapshot.at],
        )
        (server_id,) = self._connection.execute("SELECT id FROM server WHERE name = ?", [snapshot.server]).fetchone()
        (newest,) = self._connection.execute(
            "SELECT max(at) FROM server_sample WHERE server_id = ?", [server_id]
        ).fetchone()
        self._ids[snapshot.server] = int(server_id)
        self._newest[int(server_id)] = float("-inf") if newest is None else newest
        return int(server_id)


def _server_row(server_id: int, snapshot: Snapshot) -> Row:
    figures = snapshot.figures or _NO_FIGURES
    error = snapshot.error if snapshot.state == "live" else snapshot.error or ""
    return (
        server_id,
        snapshot.at,
        error,
        snapshot.poll_seconds,
        *_server_values(figures),
        encode_counts(figures.lag_bucket_counts),
    )


def encode_counts(counts: Sequence[int] | None) -> str | None:
    """Bucket counts as a JSON object of those above 0, which is short and which SQLite's json_each can add up."""
    if counts is None:
        return None
    return "{" + ",".join(f'"{bucket}":{count}' for bucket, count in enumerate(counts) if count) + "}"


def decode_counts(text: str | None) -> tuple[int, ...] | None:
    """The counts that `encode_counts` wrote, all buckets."""
    if text is None:
        return None
    counts = [0] * BUCKETS
    for bucket, count in msgspec.json.decode(text, type=dict[int, int], strict=False).items():
        counts[bucket] = count
    return tuple(counts)
