"""A damaged history: what is wrong with it, and a new file with everything that can still be read.

Nothing is ever deleted: the damaged file is moved aside under a name that says when.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from whisper_ops.formatting import counted
from whisper_ops.history.opening import open_for_writing

_LOGS = ("", "-wal", "-shm")


class RepairResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a damaged file."""

    aside: Path
    """Where the damaged file is now."""
    rows: dict[str, int]
    """Rows saved of each table."""
    damaged: tuple[str, ...]
    """Tables of which some rows could not be read."""

    def __str__(self) -> str:
        total = counted(sum(self.rows.values()), "row was saved", "rows were saved")
        lost = f", some of {', '.join(self.damaged)} could not be read" if self.damaged else ""
        return f"{total}{lost}; the damaged file is {self.aside}"


def is_sqlite(path: Path) -> bool:
    """Whether a file begins as every SQLite file does; what does not is another program's, or beyond saving."""
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def problems(path: Path) -> list[str]:
    """What SQLite's own check finds, in its words; empty when all is well."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.DatabaseError as error:
        return [str(error)]
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
        found += [f"{row[0]}: a row without its {row[2]}" for row in connection.execute("PRAGMA foreign_key_check")][
            :10
        ]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    finally:
        connection.close()
    return [problem for problem in found if problem != "ok"]


def move_aside(path: Path) -> Path:
    """Move a file and its logs out of the way; returns where it is now."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{number}")
    for log in _LOGS:
        file = path.with_name(path.name + log)
        if file.exists():
            file.rename(aside.with_name(aside.name + log))
    return aside


def repair(path: Path) -> RepairResult:
    """Move the damaged `path` aside and make a new history of what can be read of it.

    Raises:
        UserError: the new file cannot be written.
    """
    aside = move_aside(path)
    target = open_for_writing(path)
    try:
        return _save(aside, target)
    finally:
        target.close()


def _save(aside: Path, target: sqlite3.Connection) -> RepairResult:
    rows: dict[str, int] = {}
    damaged: list[str] = []
    source = sqlite3.connect(aside)
    target.execute("PRAGMA foreign_keys=OFF")  # a child is worth having even when its parent is lost
    for table in _tables(target):
        columns = _columns(target, table, source)
        if not columns:
            damaged.append(table)
            continue
        marks = ", ".join("?" * len(columns))
        target.execute("BEGIN")
        reader = _Reader(source, table, columns)
        insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        before = target.total_changes
        target.executemany(insert, reader.rows())
        rows[table] = target.total_changes - before
        target.execute("COMMIT")
        if reader.damaged:
            damaged.append(table)
    source.close()
    _adopt(target)
    target.execute("PRAGMA foreign_keys=ON")
    return RepairResult(aside=aside, rows={name: n for name, n in rows.items() if n}, damaged=tuple(damaged))


def _adopt(target: sqlite3.Connection) -> None:
    """Give rows whose server was lost one with a name that says so."""
    for table in ("server_sample", "server_minute", "server_hour"):
        target.execute(
            f"INSERT OR IGNORE INTO server (id, name, first_seen_at, last_seen_at) SELECT server_id, "
            f"'lost server ' || server_id, min(at), max(at) FROM {table} "
            "WHERE server_id NOT IN (SELECT id FROM server) GROUP BY server_id"
        )


class _Reader:
    """Reads a table from both ends of each server's rows, so that a bad page costs only what is around it."""

    def __init__(self, source: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
        self.damaged = False
        self._source = source
        self._select = f"SELECT {', '.join(columns)} FROM {table}"
        self._by_server = "server_id" in columns

    def rows(self) -> Iterator[tuple[Any, ...]]:
        # The whole of it, as far as it goes; what comes twice is ignored by the insert.
        yield from self._read(self._select, ())
        if not self.damaged:
            return
        if not self._by_server:
            yield from self._read(f"{self._select} ORDER BY 1 DESC", ())
            return
        for server_id in range(1, 1 + self._greatest_server()):
            for order in ("ASC", "DESC"):
                yield from self._read(f"{self._select} WHERE server_id = ? ORDER BY at {order}", (server_id,))

    def _read(self, sql: str, arguments: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._source.execute(sql, arguments)
        except sqlite3.DatabaseError:
            self.damaged = True

    def _greatest_server(self) -> int:
        for table in ("server", "server_hour", "server_minute", "server_sample"):
            column = "id" if table == "server" else "server_id"
            try:
                (greatest,) = self._source.execute(f"SELECT max({column}) FROM {table}").fetchone()
            except sqlite3.DatabaseError:
                continue
            return int(greatest or 0)
        return 0


def _tables(target: sqlite3.Connection) -> list[str]:
    """Parents before children, as they were made."""
    found = target.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    return [name for (name,) in found if not name.startswith(("sqlite_", "_sqlite_")) and name != "latency_bucket"]


def _columns(target: sqlite3.Connection, table: str, source: sqlite3.Connection) -> list[str]:
    """Those that both have and that are stored; none when the source's table cannot be looked at."""
    columns = [row[1] for row in target.execute(f"PRAGMA table_xinfo({table})") if row[6] == 0]
    try:
        there = {row[1] for row in source.execute(f"PRAGMA table_xinfo({table})")}
    except sqlite3.DatabaseError:
        return []
    return [column for column in columns if column in there]
