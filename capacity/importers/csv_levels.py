"""Load levels from a CSV file as a sweep: another tool's load test becomes evidence of its own key.

What such a file does not say cannot be audited. A level without its length, its words and what was really live is kept
as provisional: it may bracket the limit, and it enters no law.
"""

from typing import Any

import msgspec

from capacity.importers.figure_names import FigureSource, in_base_units, parse_map
from capacity.planner.rejudge import answerable
from capacity.tables.littles_law import not_held
from capacity.tables.table import Table
from whisper_ops.errors import UserError
from whisper_ops.history import LevelRecord
from whisper_ops.objective import parse
from whisper_ops.objective.judgement import Baseline, is_baseline, measures_of, rejudged

_OURS = ("sweep_id", "audit", "passed", "reason")
"""What a level of ours says of itself, and a file of others cannot."""
_LONG_SECONDS = 60.0
_WORDS = 200
_HELD = 0.95


def parse_level_map(entries: tuple[str, ...]) -> dict[str, FigureSource]:
    """Read `level.FIELD=COLUMN[:UNIT]` entries; UserError for what a level does not have."""
    known = {
        f"level.{field.name}"
        for field in msgspec.structs.fields(LevelRecord)
        if field.name not in _OURS and field.type in (int, int | None, float, float | None)
    }
    wrong = next((entry for entry in entries if not entry.startswith("level.") or "=" not in entry), None)
    if wrong is not None:
        raise UserError(
            f"--map for levels takes level.FIELD=COLUMN[:UNIT], such as level.streams=clients, not {wrong!r}"
        )
    found = parse_map(entries, known, "a level; it takes level.FIELD=COLUMN[:UNIT]")
    if "level.streams" not in found:
        raise UserError("--map needs level.streams=COLUMN, the number of streams of a level")
    return {figure.removeprefix("level."): source for figure, source in found.items()}


def levels(
    table: Table, sources: dict[str, FigureSource], objective: str, started_at: float
) -> tuple[LevelRecord, ...]:
    """The rows as levels, audited as far as they tell, and judged by the objective.

    Raises:
        UserError: a column is missing, a figure is text or below 0, or the objective asks for what no column has.
    """
    table.require(*(source.column for source in sources.values()))
    numbers = {field: in_base_units(table, field, source) for field, source in sources.items()}
    short = not_held(table, sources["streams"].column)
    made = []
    for index, row in enumerate(table.rows):
        figures = {field: value for field in sources if (value := numbers[field][index]) is not None}
        if not figures.get("streams"):
            raise UserError(f"{table.path}, line {row.line}: a level needs streams above 0")
        made.append(_level(figures, started_at + index, short.get(index)))
    wanted = parse(objective)
    answerable(wanted, made)
    one = next((level for level in made if is_baseline(level)), None)
    baseline = Baseline() if one is None else Baseline(measures_of(one))
    return tuple(rejudged(level, wanted, {}, baseline) for level in made)


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
