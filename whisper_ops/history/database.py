"""The open file behind a history: transactions, rows and records. The parts of a history share one."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from whisper_ops.history.records import RanRecord, Record

R = TypeVar("R", bound=msgspec.Struct)


class Database:
    """One connection. Use it from one thread at a time, never from an event loop."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._undo: list[Callable[[], None]] = []

    def on_rollback(self, forget: Callable[[], None]) -> None:
        """Call `forget` whenever a transaction is rolled back: what it cached is not in the file."""
        self._undo.append(forget)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        # IMMEDIATE takes the write lock at once, so that two writers queue up instead of failing half-way.
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            # SQLite ends the transaction itself on some errors, a full disk among them.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            for forget in self._undo:
                forget()
            raise

    def write(self, sql: str, arguments: Sequence[Any] = ()) -> None:
        """One statement, in a transaction of its own."""
        with self.transaction():
            self.connection.execute(sql, arguments)

    def rows(self, sql: str, arguments: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        """What a SELECT finds, a dict a row, read as they are taken."""
        cursor = self.connection.execute(sql, arguments)
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def add(self, table: str, record: Record | RanRecord) -> int:
        """Store a record in a transaction of its own; returns its id."""
        with self.transaction():
            return self.insert(table, record)

    def insert(self, table: str, record: Record | RanRecord) -> int:
        """Store a record, in place of the one with its key; returns its id. Needs a transaction."""
        row = msgspec.structs.asdict(record)
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        cursor = self.connection.execute(
            f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", list(row.values())
        )  # names of our own
        return int(cursor.lastrowid or 0)


def struct_of(row: dict[str, Any], kind: type[R]) -> R:
    """Make a struct of a row; columns it does not have are keys, and SQLite's 0 and 1 are its booleans."""
    wanted = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return msgspec.convert({name: row[name] for name in wanted if name in row}, kind, strict=False)
