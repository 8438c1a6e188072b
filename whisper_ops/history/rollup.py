"""Minutes out of polls and hours out of minutes: n, sum, least, greatest and last value of every metric.

A minute whose rows changed is in `rollup_due`, put there in the transaction of the rows, and is computed afresh from
all of its polls: late polls, restarts and kills change nothing about the result. Only where retention has already
deleted polls of that minute is what came late added to what is there, and deleted at once: nothing counts twice.
"""

import sqlite3
from typing import NamedTuple

from whisper_ops.history.schema import BUCKET_COLUMNS, GPU_METRICS, HOST_METRICS, SERVER_METRICS
from whisper_ops.plausible_ranges import column_bound

MINUTE = 60.0
HOUR = 3600.0
_GRACE_SECONDS = 5.0
"""A minute is rolled up this long after its end: answers under way then are in it."""


class RollupKind(NamedTuple):
    """What is rolled up: a kind of samples and its metrics."""

    name: str
    metrics: tuple[str, ...]

    @property
    def gpu(self) -> str:
        """The key column that only GPUs have, with a comma."""
        return "gpu_id, " if self.name == "gpu" else ""

    @property
    def buckets(self) -> tuple[str, ...]:
        """Its columns of bucket counts."""
        return BUCKET_COLUMNS if self.name == "server" else ()


KINDS = (RollupKind("server", SERVER_METRICS), RollupKind("gpu", GPU_METRICS), RollupKind("host", HOST_METRICS))


def roll_up(connection: sqlite3.Connection, now: float, limit: int) -> int:
    """Roll up at most `limit` minutes and hours that were over by `now`; returns how many. Needs a transaction."""
    done = 0
    for tier, length, work in (("minute", MINUTE, _minute), ("hour", HOUR, _hour)):
        due = connection.execute(
            "SELECT server_id, at FROM rollup_due WHERE tier = ? AND at <= ? ORDER BY at, server_id LIMIT ?",
            [tier, now - length - _GRACE_SECONDS, limit - done],
        ).fetchall()
        for server_id, at in due:
            work(connection, server_id, at)
        connection.executemany(
            "DELETE FROM rollup_due WHERE tier = ? AND server_id = ? AND at = ?", [(tier, *key) for key in due]
        )
        done += len(due)
    return done


def kept_since(connection: sqlite3.Connection, tier: str, server_id: int) -> float:
    """From when on a server's tier (raw, minute, hour) is complete: what was before may have been deleted."""
    row = connection.execute("SELECT since FROM kept WHERE tier = ? AND server_id = ?", [tier, server_id]).fetchone()
    return float("-inf") if row is None else float(row[0])


def _minute(connection: sqlite3.Connection, server_id: int, at: float) -> None:
    hour = at // HOUR * HOUR
    span = {"server": server_id, "since": at, "until": at + MINUTE}
    raw_is_complete = at >= kept_since(connection, "raw", server_id)
    if at < kept_since(connection, "minute", server_id):
        if at >= kept_since(connection, "hour", server_id):
            for kind in KINDS:
                connection.execute(_from_raw(kind, "hour", add=True), {**span, "at": hour})
    else:
        for kind in KINDS:
            connection.execute(_from_raw(kind, "minute", add=not raw_is_complete), {**span, "at": at})
        connection.execute(
            "INSERT OR IGNORE INTO rollup_due (tier, server_id, at) VALUES ('hour', ?, ?)", [server_id, hour]
        )
    if not raw_is_complete:
        for kind in KINDS:
            connection.execute(
                f"DELETE FROM {kind.name}_sample WHERE server_id = :server AND at >= :since AND at < :until", span
            )


def _hour(connection: sqlite3.Connection, server_id: int, at: float) -> None:
    if at < kept_since(connection, "minute", server_id):
        return  # its minutes are partly gone; what came late was added to the hour directly
    span = {"server": server_id, "since": at, "until": at + HOUR, "at": at}
    for kind in KINDS:
        connection.execute(_from_minutes(kind), span)


def _columns(kind: RollupKind) -> str:
    failed = "failed, " if kind.name == "server" else ""
    buckets = "".join(f"{column}, " for column in kind.buckets)
    metrics = ", ".join(f"{m}_n, {m}_sum, {m}_min, {m}_max, {m}_last" for m in kind.metrics)
    return f"server_id, at, {kind.gpu}polls, {failed}last_at, {buckets}{metrics}"


def _insert(kind: RollupKind, tier: str, aggregates: str, table: str, last: str, *, add: bool) -> str:
    """`aggregates` of the rows of `table` within the span, joined with its last row, into a rollup table."""
    results = ", ".join(f"a.{m}_n, a.{m}_sum, a.{m}_min, a.{m}_max, l.{m}{last}" for m in kind.metrics)
    buckets = "".join(f"{_bucket_sum(column, table)}, " for column in kind.buckets)
    failed = "a.failed, " if kind.name == "server" else ""
    same_gpu = "AND l.gpu_id = a.gpu_id" if kind.gpu else ""
    gpu = "a.gpu_id, " if kind.gpu else ""
    return f"""
        INSERT {"" if add else "OR REPLACE "}INTO {kind.name}_{tier} ({_columns(kind)})
        SELECT :server, :at, {gpu}a.polls, {failed}a.last_at, {buckets}{results}
        FROM (
            SELECT {kind.gpu}max(at) AS newest, {aggregates} FROM {table}
            WHERE server_id = :server AND at >= :since AND at < :until GROUP BY {kind.gpu}server_id
        ) AS a JOIN {table} AS l ON l.server_id = :server AND l.at = a.newest {same_gpu}
        WHERE true {_on_conflict(kind, tier) if add else ""}
    """


def _from_raw(kind: RollupKind, tier: str, *, add: bool) -> str:
    metrics = ", ".join(_aggregates(kind, metric) for metric in kind.metrics)
    failed = "count(error) AS failed, " if kind.name == "server" else ""
    aggregates = f"count(*) AS polls, {failed}max(at) AS last_at, {metrics}"
    return _insert(kind, tier, aggregates, f"{kind.name}_sample", "", add=add)


def _aggregates(kind: RollupKind, m: str) -> str:
    """Of what is possible only: two integers near 2⁶³, let in by an older version, would end every roll-up."""
    low, high = column_bound(kind.name, m)
    value = f"CASE WHEN {m} BETWEEN {low!r} AND {high!r} THEN {m} END"
    return f"count({value}) AS {m}_n, sum({value}) AS {m}_sum, min({value}) AS {m}_min, max({value}) AS {m}_max"


def _from_minutes(kind: RollupKind) -> str:
    metrics = ", ".join(
        f"sum({m}_n) AS {m}_n, sum({m}_sum) AS {m}_sum, min({m}_min) AS {m}_min, max({m}_max) AS {m}_max"
        for m in kind.metrics
    )
    failed = "sum(failed) AS failed, " if kind.name == "server" else ""
    aggregates = f"sum(polls) AS polls, {failed}max(last_at) AS last_at, {metrics}"
    return _insert(kind, "hour", aggregates, f"{kind.name}_minute", "_last", add=False)


def _bucket_sum(column: str, table: str) -> str:
    span = "server_id = :server AND at >= :since AND at < :until"
    return f"""(
        SELECT CASE WHEN (SELECT count({column}) FROM {table} WHERE {span}) > 0 THEN json_group_object(key, n) END
        FROM (SELECT key, sum(value) AS n FROM {table}, json_each({column}) WHERE {span} GROUP BY key)
    )"""


def _on_conflict(kind: RollupKind, tier: str) -> str:
    """Add to the row that is there; of `last` the later poll's stays."""
    table = f"{kind.name}_{tier}"
    sets = [
        "polls = polls + excluded.polls",
        "last_at = max(last_at, excluded.last_at)",
        *(["failed = failed + excluded.failed"] if kind.name == "server" else []),
        *(f"{column} = {_bucket_addition(table, column)}" for column in kind.buckets),
    ]
    for m in kind.metrics:
        sets += [
            f"{m}_n = {m}_n + excluded.{m}_n",
            f"{m}_sum = coalesce({m}_sum + excluded.{m}_sum, {m}_sum, excluded.{m}_sum)",
            f"{m}_min = coalesce(min({m}_min, excluded.{m}_min), {m}_min, excluded.{m}_min)",
            f"{m}_max = coalesce(max({m}_max, excluded.{m}_max), {m}_max, excluded.{m}_max)",
            f"{m}_last = CASE WHEN excluded.last_at >= last_at THEN excluded.{m}_last ELSE {m}_last END",
        ]
    return f"ON CONFLICT DO UPDATE SET {', '.join(sets)}"


def _bucket_addition(table: str, column: str) -> str:
    return f"""CASE WHEN {table}.{column} IS NULL AND excluded.{column} IS NULL THEN NULL ELSE (
        SELECT json_group_object(key, n) FROM (
            SELECT key, sum(value) AS n FROM (
                SELECT key, value FROM json_each(coalesce({table}.{column}, '{{}}'))
                UNION ALL SELECT key, value FROM json_each(coalesce(excluded.{column}, '{{}}'))
            ) GROUP BY key
        )
    ) END"""
