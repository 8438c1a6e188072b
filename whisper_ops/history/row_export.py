"""Rows out of a history for other programs: CSV or JSON lines, with the server's name in place of its number."""

import csv
import json
from collections.abc import Iterator
from typing import IO, Any, Literal

from whisper_ops.console import escaped_json
from whisper_ops.errors import UserError
from whisper_ops.history.store import History
from whisper_ops.untrusted_text import printable

Format = Literal["csv", "jsonl"]

TIMES = {
    "server_sample": "at", "gpu_sample": "at", "host_sample": "at",
    "server_minute": "at", "gpu_minute": "at", "host_minute": "at",
    "server_hour": "at", "gpu_hour": "at", "host_hour": "at",
    "server_identity": "at", "gpu_identity": "at", "host_identity": "at",
    "sweep": "started_at", "level": "started_at", "stream": None, "plan": "created_at",
    "event": "at", "alert": "started_at",
}  # fmt: skip
"""What can be exported, and the column that says when."""


def rows(
    history: History, table: str, *, since: float | None = None, until: float | None = None, server: str | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a table in the order of its key, each a dict; read as they are taken.

    Raises:
        UserError: there is no such table, or it has no time or no server to choose by.
    """
    if table not in TIMES:
        raise UserError(f"there is no table {table} to export; there are {', '.join(TIMES)}")
    time, keyed = TIMES[table], table.endswith(("_sample", "_minute", "_hour", "_identity"))
    if (since is not None or until is not None) and time is None:
        raise UserError(f"the rows of {table} have no time; export them without --since and --until")
    if server is not None and table in {"level", "stream"}:
        raise UserError(f"the rows of {table} have no server; join them with sweep")
    conditions = [
        (f"t.{time} >= ?", since),
        (f"t.{time} < ?", until),
        ("s.name = ?" if keyed else "t.server = ?", server),
    ]
    chosen = [(condition, value) for condition, value in conditions if value is not None]
    where = f"WHERE {' AND '.join(condition for condition, _ in chosen)}" if chosen else ""
    if keyed:
        joined = f"{table} AS t JOIN server AS s ON s.id = t.server_id"
        sql = f"SELECT s.name AS server, t.* FROM {joined} {where} ORDER BY t.server_id, t.at"
    else:
        sql = f"SELECT t.* FROM {table} AS t {where} ORDER BY 1"
    for row in history.database.rows(sql, [value for _, value in chosen]):
        row.pop("server_id", None)
        yield row


_FORMULA = ("=", "+", "-", "@")
"""With these a spreadsheet takes a cell for a formula, and runs it."""


def as_cell(value: object) -> object:
    """A value as a cell of CSV: a text that a spreadsheet would run gets an apostrophe in front, as there."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def write(found: Iterator[dict[str, Any]], out: IO[str], kind: Format) -> int:
    """Write rows to `out`; returns how many. Unknown values are empty in CSV and null in JSON."""
    count = 0
    writer: Any = None
    for row in found:
        count += 1
        if kind == "jsonl":
            out.write(escaped_json(json.dumps(row, ensure_ascii=False, separators=(",", ":"))) + "\n")
            continue
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: as_cell(value) for name, value in row.items()})
    return count
