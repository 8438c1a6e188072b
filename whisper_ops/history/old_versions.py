"""Reading the file of an older version as if it were migrated, without changing it.

What later migrations added is laid over the file as temporary views of this connection: tables that it lacks are empty,
columns that it lacks hold their default. So no reader needs to know which version wrote a file.
"""

import sqlite3
from functools import cache
from typing import NamedTuple

from whisper_ops.history.schema import migrations


class OldColumn(NamedTuple):
    """A column of the present schema."""

    name: str
    default: str
    """As SQL."""


def lay_over(connection: sqlite3.Connection) -> None:
    """Add what the file lacks to what this connection sees."""
    if migrations.applied(connection) >= set(migrations.names):
        return
    there = _tables(connection)
    for table, columns in _present().items():
        known = there.get(table, ())
        if known == columns:
            continue
        names = {column.name for column in known}
        picked = ", ".join(c.name if c.name in names else f"{c.default} AS {c.name}" for c in columns)
        source = f"main.{table}" if known else "(SELECT 1) WHERE 0"
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT {picked} FROM {source}")


@cache
def _present() -> dict[str, tuple[OldColumn, ...]]:
    connection = sqlite3.connect(":memory:")
    try:
        migrations.apply(connection)
        return _tables(connection)
    finally:
        connection.close()


def _tables(connection: sqlite3.Connection) -> dict[str, tuple[OldColumn, ...]]:
    """Every table of ours with its columns."""
    rows = connection.execute(
        "SELECT m.name, c.name, c.dflt_value FROM main.sqlite_master m JOIN pragma_table_xinfo(m.name) c "
        "WHERE m.type = 'table' AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%' "
        "ORDER BY m.rowid, c.cid"
    )
    found: dict[str, tuple[OldColumn, ...]] = {}
    for table, name, default in rows:
        found[table] = (*found.get(table, ()), OldColumn(name, "NULL" if default is None else default))
    return found
