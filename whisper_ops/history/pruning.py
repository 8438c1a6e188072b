"""The deletion of polls that retention keeps no longer: the file grows to a size and stays there."""

import sqlite3

from whisper_ops.history.retention import Retention
from whisper_ops.history.rollup import HOUR, KINDS, kept_since

_TABLES = {
    "raw": tuple(f"{kind.name}_sample" for kind in KINDS),
    "minute": tuple(f"{kind.name}_minute" for kind in KINDS),
    "hour": tuple(f"{kind.name}_hour" for kind in KINDS),
}
_WAIT_FOR = {"raw": ("minute",), "minute": ("minute", "hour"), "hour": ()}
_FINER = {"minute": "raw", "hour": "minute"}


def prune_server(connection: sqlite3.Connection, server_id: int, now: float, retention: Retention) -> int:
    """Delete what is too old of one server; returns the number of deleted rows. Needs a transaction.

    Nothing is deleted before it was rolled up. A server at a time keeps transactions short: others can write between.
    """
    ages = {"raw": retention.raw_seconds, "minute": retention.minute_seconds, "hour": retention.hour_seconds}
    return sum(_delete_before(connection, server_id, tier, now - age) for tier, age in ages.items())


def scarce(connection: sqlite3.Connection, now: float, retention: Retention) -> tuple[str, float] | None:
    """When the rows take more than they may: the tier to take from, and until when. Its oldest hour goes first."""
    if used_bytes(connection) <= retention.max_bytes:
        return None
    for tier in _TABLES:
        oldest = _oldest(connection, tier)
        if oldest is not None and oldest < now - 2 * HOUR:
            return tier, oldest // HOUR * HOUR + HOUR
    return None


def make_room(connection: sqlite3.Connection, server_id: int, tier: str, until: float) -> int:
    """Delete one server's rows of a tier before `until`, as far as they were rolled up. Needs a transaction."""
    return _delete_before(connection, server_id, tier, until)


def used_bytes(connection: sqlite3.Connection) -> int:
    """The size of what the file holds: pages once used and free now are not counted, they are used again."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)


def _oldest(connection: sqlite3.Connection, tier: str) -> float | None:
    # A look-up a server in the key's order; `min(at)` over the whole table would read all of it.
    (oldest,) = connection.execute(
        f"SELECT min((SELECT min(at) FROM {_TABLES[tier][0]} WHERE server_id = server.id)) FROM server"
    ).fetchone()
    return None if oldest is None else float(oldest)


def _delete_before(connection: sqlite3.Connection, server_id: int, tier: str, cutoff: float) -> int:
    """Whole hours only, so that an hour's minutes are all there or all gone; and nothing that is still due."""
    for due_tier in _WAIT_FOR[tier]:
        (due,) = connection.execute(
            "SELECT min(at) FROM rollup_due WHERE tier = ? AND server_id = ?", [due_tier, server_id]
        ).fetchone()
        cutoff = cutoff if due is None else min(cutoff, due)
    if tier in _FINER:
        # A coarse row outlives the finer ones it is made of: then what comes late has one place to be added to.
        cutoff = min(cutoff, kept_since(connection, _FINER[tier], server_id))
    if cutoff == float("-inf"):
        return 0
    cutoff = cutoff // HOUR * HOUR
    if cutoff <= kept_since(connection, tier, server_id):
        return 0
    connection.execute(
        "INSERT OR REPLACE INTO kept (tier, server_id, since) VALUES (?, ?, ?)", [tier, server_id, cutoff]
    )
    return sum(
        connection.execute(f"DELETE FROM {table} WHERE server_id = ? AND at < ?", [server_id, cutoff]).rowcount
        for table in _TABLES[tier]
    )
