"""What seldom changes, stored as "from this time on": names, totals and limits, a row only when one of them changed."""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

Values = tuple[Any, ...]
Key = tuple[int, ...]
"""(server_id,), or (server_id, gpu_id) where the facts are a GPU's."""


class FactKind(NamedTuple):
    """A table of facts: its columns, and the samples that they are facts about."""

    table: str
    samples: str
    columns: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that say whose facts a row holds."""
        return ("server_id", "gpu_id") if self.samples == "gpu_sample" else ("server_id",)

    @property
    def nothing(self) -> Values:
        """The facts before the first row: none is known."""
        return (None,) * len(self.columns)


class FactStore:
    """Writes facts so that each sample, late ones included, reads back those that it came with."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._newest: dict[tuple[str, Key], Values] = {}

    def forget(self) -> None:
        """Drop what was looked up."""
        self._newest.clear()

    def put(self, kind: FactKind, key: Key, at: float, values: Values, *, late: bool) -> None:
        """Say that `values` held at `at`; `late`: samples of that time or after it are in the file already."""
        if late:
            self._newest.pop((kind.table, key), None)
            self._put_between(kind, key, at, values)
            return
        known = self._newest.get((kind.table, key))
        if known is None:
            known = self._as_of(kind, key, at)
        if known != values:
            self._insert(kind, key, at, values)
        self._newest[kind.table, key] = values

    def _put_between(self, kind: FactKind, key: Key, at: float, values: Values) -> None:
        before = self._as_of(kind, key, at)
        if before == values:
            return
        whose = " AND ".join(f"{column} = ?" for column in kind.key)
        following = self._connection.execute(
            f"SELECT min(at) FROM {kind.samples} WHERE {whose} AND at > ?", [*key, at]
        ).fetchone()[0]
        # The sample after this one keeps the facts that it had.
        if following is not None and self._as_of(kind, key, following) == before:
            self._insert(kind, key, following, before)
        self._insert(kind, key, at, values)

    def _as_of(self, kind: FactKind, key: Key, at: float) -> Values:
        whose = " AND ".join(f"{column} = ?" for column in kind.key)
        row = self._connection.execute(
            f"SELECT {', '.join(kind.columns)} FROM {kind.table} WHERE {whose} AND at <= ? ORDER BY at DESC LIMIT 1",
            [*key, at],
        ).fetchone()
        return kind.nothing if row is None else tuple(row)

    def _insert(self, kind: FactKind, key: Key, at: float, values: Values) -> None:
        columns = (*kind.key, "at", *kind.columns)
        self._connection.execute(
            f"INSERT OR REPLACE INTO {kind.table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            [*key, at, *values],
        )


class FactReader:
    """The facts of one server while time goes forward."""

    def __init__(self, connection: sqlite3.Connection, kind: FactKind, server_id: int, until: float) -> None:
        columns = ", ".join(("at", *kind.key[1:], *kind.columns))
        rows: Iterator[Values] = connection.execute(
            f"SELECT {columns} FROM {kind.table} WHERE server_id = ? AND at < ? ORDER BY at", [server_id, until]
        )
        self._rows = rows
        self._next = next(rows, None)
        self._ids = len(kind.key) - 1
        self._now: dict[Key, Values] = {}
        self._nothing = kind.nothing

    def at(self, at: float, *ids: int) -> Values:
        """The facts at `at`, of the GPU `ids` where the kind has GPUs; `at` never goes back."""
        while self._next is not None and self._next[0] <= at:
            self._now[self._next[1 : 1 + self._ids]] = self._next[1 + self._ids :]
            self._next = next(self._rows, None)
        return self._now.get(ids, self._nothing)
