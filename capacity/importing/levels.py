"""Load levels from a CSV file as a sweep: somebody else's load test becomes evidence of its own key.

What such a file does not say cannot be audited. A level without its length, its words and what was really live is kept
as provisional: it may bracket the limit, and it enters no law.
"""

from typing import Any

import msgspec

from capacity.fit.levels import not_held
from capacity.fit.table import Table
from capacity.importing.figures import UNITS, Source
from capacity.plan.objective import rejudged
from whisper_ops.errors import UserError
from whisper_ops.history import LevelRecord

_LONG_SECONDS = 60.0
_WORDS = 200
_HELD = 0.95


def parse_level_map(entries: tuple[str, ...]) -> dict[str, Source]:
    """Read `level.FIELD=COLUMN[:UNIT]` entries; UserError for what a level does not have."""
    known = set(LevelRecord.__struct_fields__) - {"sweep_id", "audit", "passed", "reason"}
    found: dict[str, Source] = {}
    for entry in entries:
        name, equals, rest = entry.partition("=")
        field = name.removeprefix("level.")
        column, _, unit = rest.rpartition(":") if rest.rpartition(":")[2].lower() in UNITS else (rest, "", "")
        if not equals or not column or not name.startswith("level.") or field not in known:
            raise UserError(
                f"--map for levels takes level.FIELD=COLUMN[:UNIT], such as level.streams=clients, not {entry!r}"
            )
        found[field] = Source(column, UNITS[unit.lower()])
    if "streams" not in found:
        raise UserError("--map needs level.streams=COLUMN, the number of streams of a level")
    return found


def levels(table: Table, sources: dict[str, Source], objective: str, started_at: float) -> tuple[LevelRecord, ...]:
    """The rows as levels, audited as far as they tell, and judged by the objective.

    Raises:
        UserError: a column is missing, a figure is text or below 0, or the objective asks for what no column has.
    """
    table.require(*(source.column for source in sources.values()))
    numbers = {field: table.numbers(source.column) for field, source in sources.items()}
    short = not_held(table, sources["streams"].column)
    made = []
    for index, row in enumerate(table.rows):
        figures = {
            field: value * sources[field].factor for field in sources if (value := numbers[field][index]) is not None
        }
        if any(value < 0 for value in figures.values()) or not figures.get("streams"):
            raise UserError(f"{table.path}, line {row.line}: a level needs streams above 0 and no figure below 0")
        made.append(_level(figures, started_at + index, short.get(index)))
    return rejudged(made, objective)


def _level(figures: dict[str, float], at: float, short: str | None) -> LevelRecord:
    whole = {
        field.name for field in msgspec.structs.fields(LevelRecord) if field.type is int or field.type == (int | None)
    }
    given: dict[str, Any] = {name: round(value) if name in whole else value for name, value in figures.items()}
    live = given.get("achieved_concurrency")
    if live is not None and live < _HELD * given["streams"]:
        short = f"only {live:.3g} of {given['streams']} streams were live at once"
    told = live is not None and given.get("duration_seconds", 0) >= _LONG_SECONDS and given.get("words", 0) >= _WORDS
    return LevelRecord(
        **{
            "sweep_id": 0,
            "started_at": at,
            "duration_seconds": 0.0,
            "achieved_concurrency": float(given["streams"]),
            "words": 0,
            **given,
            "audit": "invalid" if short else "valid" if told else "provisional",
            "passed": None,
            "reason": short or "",
        }
    )
