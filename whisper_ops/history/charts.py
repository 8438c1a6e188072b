"""One metric over time, read from the coarsest tier that is fine enough; gaps stay gaps."""

import sqlite3
from collections.abc import Iterator
from typing import Literal

import msgspec

from whisper_ops.history.rollup import HOUR, KINDS, MINUTE, kept_since
from whisper_ops.plausible_ranges import column_bound

_TIERS = (("hour", HOUR), ("minute", MINUTE), ("raw", 0.0))


class ChartQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which metric of which server; of one GPU, or of each poll's GPUs together when `gpu_id` is None."""

    server: str
    metric: str
    kind: Literal["server", "gpu", "host"] = "server"
    gpu_id: int | None = None


class Point(msgspec.Struct, frozen=True):
    """What a metric was during one step from `at` on: `n` known values; no point at all where there is none."""

    at: float
    n: int
    sum: float
    minimum: float
    maximum: float
    last: float | None
    """Its value in the last poll of the step; None when that poll did not know it."""

    @property
    def mean(self) -> float:
        """The arithmetic mean of its known values."""
        return self.sum / self.n


def _finest_kept(connection: sqlite3.Connection, server_id: int, since: float) -> float:
    """The length in seconds of the finest tier that reaches back to `since`."""
    if since >= kept_since(connection, "raw", server_id):
        return 0.0
    return MINUTE if since >= kept_since(connection, "minute", server_id) else HOUR


_Row = tuple[float, int, float, float, float, float | None]


def chart(connection: sqlite3.Connection, query: ChartQuery, since: float, until: float, step: float) -> list[Point]:
    """Points at multiples of `step` seconds for `since <= at < until`; of a longer step where finer rows are gone.

    Raises:
        ValueError: the metric is none that is rolled up.
    """
    if query.metric not in next(kind.metrics for kind in KINDS if kind.name == query.kind):
        raise ValueError(f"{query.metric} is no metric of a {query.kind}")
    found = connection.execute("SELECT id FROM server WHERE name = ?", [query.server]).fetchone()
    if found is None:
        return []
    points: list[Point] = []
    possible = column_bound(query.kind, query.metric)
    step = max(step, _finest_kept(connection, found[0], since))
    for row in _rows(connection, query, found[0], (since, until, step)):
        if row[1] and not all(possible.holds(value) for value in row[3:] if value is not None):
            continue  # let in by an older version; its sum is of no use either
        at = row[0] // step * step
        if points and points[-1].at == at:
            points[-1] = _merged(points[-1], row)
        elif row[1]:
            points.append(Point(at, *row[1:]))
    return points


def _rows(
    connection: sqlite3.Connection, query: ChartQuery, server_id: int, span: tuple[float, float, float]
) -> Iterator[_Row]:
    """Rows of the tiers that fit, each from where the coarser one ends."""
    since, until, step = span
    for tier, length in _TIERS:
        if length > step:
            continue
        table = f"{query.kind}_{'sample' if tier == 'raw' else tier}"
        m = query.metric
        columns = (
            f"{m} IS NOT NULL, {m}, {m}, {m}, {m}" if tier == "raw" else f"{m}_n, {m}_sum, {m}_min, {m}_max, {m}_last"
        )
        which = "server_id = ? AND at >= ? AND at < ?" + ("" if query.gpu_id is None else " AND gpu_id = ?")
        arguments = [server_id, since, until, *([] if query.gpu_id is None else [query.gpu_id])]
        last = None
        for row in connection.execute(f"SELECT at, {columns} FROM {table} WHERE {which} ORDER BY at", arguments):
            yield row
            last = row[0]
        since = since if last is None else last + length


def _merged(point: Point, row: _Row) -> Point:
    _, n, total, minimum, maximum, last = row
    if not n:
        return msgspec.structs.replace(point, last=last)
    return Point(
        point.at, point.n + n, point.sum + total, min(point.minimum, minimum), max(point.maximum, maximum), last
    )
