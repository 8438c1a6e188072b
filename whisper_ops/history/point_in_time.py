"""What a screen of the past asks of the polls around a moment. Every question is answered from the primary key."""

from typing import NamedTuple

from whisper_ops.history.store import History

_OF_SERVER = "server_id = (SELECT id FROM server WHERE name = ?)"


class BriefPoll(NamedTuple):
    """What sparklines and rates need of a poll."""

    at: float
    answered: bool
    lag_p95_seconds: float | None
    rejected_total: int | None


def first_poll(history: History, after: float = float("-inf")) -> float | None:
    """The oldest poll of any server after a moment."""
    return _outermost(history, "min", ">", after)


def last_poll(history: History, until: float) -> float | None:
    """The newest poll of any server up to a moment."""
    return _outermost(history, "max", "<=", until)


def last_seen(history: History) -> dict[str, float]:
    """When each server was polled last."""
    return {row["name"]: row["last_seen_at"] for row in history.database.rows("SELECT name, last_seen_at FROM server")}


def briefs(history: History, server: str, since: float, until: float) -> list[BriefPoll]:
    """A server's polls with `since <= at < until`, oldest first."""
    rows = history.database.rows(
        f"SELECT at, error IS NULL AS answered, lag_p95_seconds, rejected_total FROM server_sample "
        f"WHERE {_OF_SERVER} AND at >= ? AND at < ? ORDER BY at",
        [server, since, until],
    )
    return [BriefPoll(row["at"], bool(row["answered"]), row["lag_p95_seconds"], row["rejected_total"]) for row in rows]


def worst_lags(history: History, server: str, since: float, until: float, step: float) -> list[BriefPoll]:
    """The worst lag of each step of a server's polls, oldest first, at the step's first poll."""
    rows = history.database.rows(
        f"SELECT min(at) AS at, max(lag_p95_seconds) AS lag FROM server_sample WHERE {_OF_SERVER} "
        "AND at >= ? AND at < ? GROUP BY CAST(at / ? AS INTEGER) ORDER BY 1",
        [server, since, until, step],
    )
    return [BriefPoll(row["at"], True, row["lag"], None) for row in rows]


def worst_gpu_lags(history: History, server: str, since: float, before: float, until: float) -> dict[int, float | None]:
    """The worst lag of each GPU in polls with `since <= at < before` and `at <= until`."""
    rows = history.database.rows(
        f"SELECT gpu_id, max(lag_p95_seconds) AS lag FROM gpu_sample WHERE {_OF_SERVER} "
        "AND at >= ? AND at < ? AND at <= ? GROUP BY gpu_id ORDER BY gpu_id",
        [server, since, before, until],
    )
    return {row["gpu_id"]: row["lag"] for row in rows}


def first_of(history: History, server: str, after: float) -> float | None:
    """A server's oldest poll after a moment."""
    return _edge(history, server, "1", ">", after, "ASC")


def last_answer(history: History, server: str, before: float) -> float | None:
    """The newest poll before a moment that was answered."""
    return _edge(history, server, "error IS NULL", "<", before, "DESC")


def first_silence(history: History, server: str, after: float) -> float | None:
    """The oldest poll after a moment that was not answered."""
    return _edge(history, server, "error IS NOT NULL", ">", after, "ASC")


def _outermost(history: History, which: str, sign: str, at: float) -> float | None:
    # One look into the index a server: a single question over all of them would read the whole table.
    (row,) = history.database.rows(
        f"SELECT {which}((SELECT {which}(at) FROM server_sample WHERE server_id = server.id AND at {sign} ?)) AS at "
        "FROM server",
        [at],
    )
    return None if row["at"] is None else float(row["at"])


def _edge(history: History, server: str, condition: str, sign: str, moment: float, order: str) -> float | None:
    rows = history.database.rows(
        f"SELECT at FROM server_sample WHERE {_OF_SERVER} AND at {sign} ? AND {condition} ORDER BY at {order} LIMIT 1",
        [server, moment],
    )
    return next((float(row["at"]) for row in rows), None)
