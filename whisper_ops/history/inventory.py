"""What is in a history: how much, from when to when, of which servers, and who writes it."""

import os
import sqlite3
from pathlib import Path

import msgspec

from whisper_ops.history.pruning import used_bytes
from whisper_ops.history.store import History
from whisper_ops.history.writer_lock import LockHolder, holder_of


class TierInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One resolution of the polls."""

    tier: str
    rows: int
    first_at: float | None
    last_at: float | None
    deleted_before: float | None
    """What retention removed; None: nothing yet."""


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A server that was polled."""

    name: str
    first_seen_at: float
    last_seen_at: float


class HistoryInfo(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    file_bytes: int
    used_bytes: int
    """Without pages that were freed and will be used again; `vacuum` gives those back."""
    tiers: list[TierInfo]
    servers: list[ServerInfo]
    sweeps: int
    levels: int
    plans: int
    events: int
    alerts: int
    alerts_open: int
    rollups_due: int
    writer: LockHolder | None
    table_bytes: dict[str, int]
    """Empty where this SQLite cannot say."""


def info(history: History) -> HistoryInfo:
    """Look through an open history."""
    connection = history.database.connection
    counts = {
        name: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        for name, table in (
            ("sweeps", "sweep"), ("levels", "level"), ("plans", "plan"), ("events", "event"), ("alerts", "alert"),
            ("rollups_due", "rollup_due"), ("alerts_open", "alert WHERE ended_at IS NULL"),
        )
    }  # fmt: skip
    logs = [history.path.with_name(history.path.name + log) for log in ("", "-wal")]
    return HistoryInfo(
        path=os.fspath(history.path),
        file_bytes=sum(file.stat().st_size for file in logs if file.exists()),
        used_bytes=used_bytes(connection),
        tiers=[_tier(connection, tier) for tier in ("raw", "minute", "hour")],
        servers=[
            ServerInfo(**row)
            for row in history.database.rows("SELECT name, first_seen_at, last_seen_at FROM server ORDER BY name")
        ],
        writer=holder_of(Path(history.path)),
        table_bytes=_table_bytes(connection),
        **counts,
    )


def _tier(connection: sqlite3.Connection, tier: str) -> TierInfo:
    table = f"server_{'sample' if tier == 'raw' else tier}"
    # Look-ups a server in the key's order: the extremes of millions of rows without reading them.
    first, last = connection.execute(
        f"SELECT min((SELECT min(at) FROM {table} WHERE server_id = server.id)), "
        f"max((SELECT max(at) FROM {table} WHERE server_id = server.id)) FROM server"
    ).fetchone()
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    (since,) = connection.execute("SELECT max(since) FROM kept WHERE tier = ?", [tier]).fetchone()
    return TierInfo(tier=tier, rows=rows, first_at=first, last_at=last, deleted_before=since)


def _table_bytes(connection: sqlite3.Connection) -> dict[str, int]:
    try:
        found = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC")
        return {name: int(size) for name, size in found if not name.startswith(("sqlite_", "_sqlite_"))}
    except sqlite3.OperationalError:
        return {}
