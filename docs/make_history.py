"""Write docs/history.md from the migrations and the comments in them; `--check` only says whether it is current."""

import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from whisper_ops.history.column_comments import COLUMN_COMMENTS
from whisper_ops.history.queries import QUERIES
from whisper_ops.history.schema import GPU_METRICS, HOST_METRICS, SERVER_METRICS, migrations

PAGE = Path(__file__).with_name("history.md")
_INTRODUCTION = """\
# The history

Made by `make docs` from the migrations; do not edit it here.

`history.db` is an SQLite file (WAL, STRICT tables) that any SQLite tool can open: `sqlite3 -readonly history.db`. It is
created on first use in the working directory; `--history PATH` or `WHISPER_OPS_HISTORY` move it. One process at a time
writes polls (`whisper-ops dash` or `whisper-ops record`; a second one says who does, and reads), any number read.

- Times are UTC epoch seconds of the machine that recorded, whatever the servers' clocks say.
- Units are in the names: `_seconds`, `_bytes`, `_ratio` (0 to 1), `_celsius`, `_watts`, `_hertz`; `_total` counts up.
- NULL is "not known", never 0. A poll that failed is a row with its `error`; where nothing recorded there is no row.
- Polls are kept 3 days, minutes 14, hours 400, and all together at most 20 GB: `[history]` in `whisper-ops.toml`
  changes that ([monitoring](monitoring.md)). Sweeps, plans, events and alerts stay.
- `whisper-ops history info|check|repair|vacuum` inspects, checks and repairs the file, `whisper-ops export` prints rows
  as CSV or JSON lines. A damaged file is moved aside, never deleted, and what can be read of it is saved.

How large it gets and how fast it is: `make bench-history`. 100 servers of 8 GPUs take 1.2 GB a day polled each 10 s and
11.8 GB polled each second, before rollups; their minutes take 0.66 GB a day and their hours 0.012 GB.
"""

_ROLLUPS = """\
## Rollups: server_minute, gpu_minute, host_minute, server_hour, gpu_hour, host_hour

One row a minute or hour of each server (and GPU): `polls` rows went into it, `last_at` is the newest of them. For each
metric `m` there are `m_n` (how often it was known), `m_sum`, `m_min`, `m_max` and `m_last` (in the newest poll); a mean
is `m_sum / m_n`. Hours are made of minutes, minutes of polls, again whenever a poll comes late: they add up exactly.
`lag_bucket_counts` of a server are the polls' counts added up; `failed` counts polls that were not answered.

"""


def page() -> str:
    connection = sqlite3.connect(":memory:")
    migrations.apply(connection)
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    connection.close()
    tables = [
        "\n".join(_table(name, sql))
        for name, sql in found
        if not name.startswith(("_sqlite", "sqlite_")) and not name.endswith(("_minute", "_hour"))
    ]
    metrics = (("server", SERVER_METRICS), ("gpu", GPU_METRICS), ("host", HOST_METRICS))
    rollups = _ROLLUPS + "\n".join(f"- {kind}: {', '.join(f'`{m}`' for m in names)}" for kind, names in metrics) + "\n"
    return "\n".join([_INTRODUCTION, *tables, rollups, *_queries()])


def _table(name: str, sql: str) -> Iterator[str]:
    # SQLite writes a column that was added later behind the line break before the closing bracket.
    whole = re.sub(r"\n\s*, ([^()]*)\) STRICT", r",\n\1\n) STRICT", sql.strip())
    head, *lines = whole.splitlines()
    about = head.partition("--")[2].strip()
    yield f"## {name}\n"
    if about:
        yield f"{about[0].upper()}{about[1:]}.\n"
    yield "| column | type | |\n|---|---|---|"
    for column, kind, comment in _columns(lines):
        yield f"| `{column}` | {kind} | {COLUMN_COMMENTS.get(f'{name}.{column}', comment)} |"
    yield ""


def _columns(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """Column, type and comment. A comment behind several columns of a line belongs to the last of them."""
    for line in lines:
        code, _, comment = line.partition("--")
        # Commas part columns only outside of parentheses.
        parts = [part.strip() for part in re.split(r",(?![^(]*\))", code) if part.strip()]
        columns = [match for part in parts if (match := re.match(r"([a-z_0-9]+) (INTEGER|REAL|TEXT)\b(.*)", part))]
        for match in columns:
            kind = f"{match[2]}, computed" if "GENERATED" in match[3] else match[2]
            yield match[1], kind, _escaped(comment.strip()) if match is columns[-1] else ""


def _escaped(comment: str) -> str:
    return comment.replace("|", "\\|")


def _queries() -> Iterator[str]:
    yield "## Ten questions\n"
    for number, query in enumerate(QUERIES, 1):
        yield f"{number}. {query.question}\n\n```sql\n{query.sql};\n```\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit("docs/history.md is out of date: run `make docs`")
