"""Polls out of the file, as they were put in: oldest first, read as they are taken."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from whisper_ops.history.samples import (
    GPU,
    GPU_COLUMNS,
    HOST,
    HOST_COLUMNS,
    IDENTITY_FACTS,
    SERVER,
    SERVER_COLUMNS,
    SERVER_FACTS,
    decode_counts,
)
from whisper_ops.history.slowly_changing import FactReader
from whisper_ops.identity import Identity
from whisper_ops.plausible_ranges import possible
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot


def snapshots(connection: sqlite3.Connection, server: str, since: float, until: float) -> Iterator[Snapshot]:
    """Polls of one server with `since <= at < until`; none for a server never polled."""
    found = connection.execute("SELECT id FROM server WHERE name = ?", [server]).fetchone()
    if found is None:
        return
    (server_id,) = found
    between = (server_id, since, until)
    identities = FactReader(connection, SERVER, server_id, until)
    gpus = _Gpus(connection, between)
    hosts = _Hosts(connection, between)
    columns = ("at", "error", "poll_seconds", "lag_bucket_counts", *SERVER_COLUMNS)
    for at, error, poll_seconds, counts, *values in _select(connection, "server_sample", columns, between, "at"):
        if error is not None:
            yield Snapshot(server=server, at=at, poll_seconds=poll_seconds, state="silent", error=error)
            continue
        facts = dict(zip(IDENTITY_FACTS, identities.at(at), strict=True))
        figures = ServerFigures(
            **{name: facts.pop(name) for name in SERVER_FACTS},
            lag_bucket_counts=decode_counts(counts),
            **dict(zip(SERVER_COLUMNS, values, strict=True)),
        )
        polled = Snapshot(
            server=server,
            at=at,
            poll_seconds=poll_seconds,
            identity=None if facts["simulated"] is None else msgspec.convert(facts, Identity, strict=False),
            figures=figures,
            gpus=gpus.take(at),
            host=hosts.take(at),
        )
        # A file may hold what an older version let in.
        yield possible(polled)


class _Gpus:
    def __init__(self, connection: sqlite3.Connection, between: tuple[int, float, float]) -> None:
        self._rows = _select(connection, "gpu_sample", ("at", "gpu_id", *GPU_COLUMNS), between, "at, gpu_id")
        self._facts = FactReader(connection, GPU, between[0], between[2])
        self._next = next(self._rows, None)

    def take(self, at: float) -> tuple[GpuFigures, ...]:
        taken: list[GpuFigures] = []
        while self._next is not None and self._next[0] <= at:
            if self._next[0] == at:
                gpu_id, *values = self._next[1:]
                facts = dict(zip(GPU.columns, self._facts.at(at, gpu_id), strict=True))
                taken.append(GpuFigures(gpu_id=gpu_id, **facts, **dict(zip(GPU_COLUMNS, values, strict=True))))
            self._next = next(self._rows, None)
        return tuple(taken)


class _Hosts:
    def __init__(self, connection: sqlite3.Connection, between: tuple[int, float, float]) -> None:
        self._rows = _select(connection, "host_sample", ("at", *HOST_COLUMNS), between, "at")
        self._facts = FactReader(connection, HOST, between[0], between[2])
        self._next = next(self._rows, None)

    def take(self, at: float) -> HostFigures | None:
        while self._next is not None and self._next[0] < at:
            self._next = next(self._rows, None)
        if self._next is None or self._next[0] != at:
            return None
        facts = dict(zip(HOST.columns, self._facts.at(at), strict=True))
        return HostFigures(**facts, **dict(zip(HOST_COLUMNS, self._next[1:], strict=True)))


def _select(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...], between: tuple[int, float, float], order: str
) -> Iterator[tuple[Any, ...]]:
    return connection.execute(
        f"SELECT {', '.join(columns)} FROM {table} WHERE server_id = ? AND at >= ? AND at < ? ORDER BY {order}", between
    )
