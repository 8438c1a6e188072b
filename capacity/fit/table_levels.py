"""From rows to levels: one figure a load, repeats side by side, and rows that are no evidence left out."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import msgspec

from capacity.tables.cells import is_nothing
from capacity.tables.cells import number as read_number
from capacity.tables.littles_law import not_held
from capacity.tables.table import Table
from capacity.tables.time_columns import is_time
from whisper_ops.errors import Exit, UserError
from whisper_ops.units import unit_of

_JUMP = 300.0
"""A latency or a memory figure that falls by more than this from one level to the next was written in another unit."""


class TableLevel(msgspec.Struct, frozen=True):
    """One load, the median of its figures, and every figure of the objective's column."""

    load: float
    figure: float
    judged: tuple[float, ...]


class TableLevels(msgspec.Struct, frozen=True):
    """Levels in rising order, and what was left out and why."""

    levels: tuple[TableLevel, ...]
    left_out: tuple[str, ...]

    @property
    def loads(self) -> list[float]:
        return [level.load for level in self.levels]

    @property
    def figures(self) -> list[float]:
        return [level.figure for level in self.levels]


class Columns(msgspec.Struct, frozen=True):
    """Which columns to read."""

    load: str
    metric: str
    judged: str
    positive: bool
    """Whether a load or a figure of 0 cannot enter the law, as with laws on a log scale."""


def read_levels(table: Table, columns: Columns) -> TableLevels:
    """Read the levels of one curve.

    Raises:
        UserError: a number is negative or text, rows of one load come from different systems, units are mixed (exit
            code 2), or no level is evidence (exit code 4).
    """
    loads, figures, judged = (table.numbers(name) for name in (columns.load, columns.metric, columns.judged))
    _refuse_negative(table, columns.load, loads)
    _refuse_negative(table, columns.metric, figures)
    _refuse_mixed(table, columns.load, loads)
    short = not_held(table, columns.load)
    kept: dict[float, list[tuple[float, float]]] = {}
    left_out = []
    for index, (load, figure, answer) in enumerate(zip(loads, figures, judged, strict=True)):
        if load is None or figure is None or answer is None or (columns.positive and (load == 0 or figure == 0)):
            left_out.append(f"line {table.rows[index].line}: no {columns.load} or {columns.metric} above 0")
        elif index in short:
            left_out.append(short[index])
        else:
            kept.setdefault(load, []).append((figure, answer))
    if short and len(kept) <= len(loads) / 2:
        raise UserError(_refusal(table, len(short), short[max(short)]), Exit.EVIDENCE)
    levels = tuple(
        TableLevel(load, median(figure for figure, _ in found), tuple(answer for _, answer in found))
        for load, found in sorted(kept.items())
    )
    if columns.positive:
        _refuse_jumps(table, columns, levels)
    return TableLevels(levels, tuple(left_out))


def _refusal(table: Table, short: int, example: str) -> str:
    return (
        f"{table.path} is not evidence of its loads: {short} of {len(table.rows)} levels were never really that busy; "
        f"{example}; repeat the test with enough requests a level to keep all of them busy"
    )


def _refuse_negative(table: Table, column: str, numbers: Sequence[float | None]) -> None:
    for row, number in zip(table.rows, numbers, strict=True):
        if number is not None and number < 0:
            raise UserError(f"{table.path}, line {row.line}: {column} is {number:g}, which cannot be below 0")


def _refuse_mixed(table: Table, load: str, loads: Sequence[float | None]) -> None:
    """Rows of one load that differ in a column of names are different systems: their laws are never mixed."""
    first: dict[float, int] = {}
    for index, value in enumerate(loads):
        if value is None:
            continue
        other = first.setdefault(value, index)
        differ = [
            column
            for column in table.columns
            if column != load and _is_name(table, column) and _cell(table, index, column) != _cell(table, other, column)
        ]
        if other != index and differ:
            raise UserError(
                f"{table.path}: lines {table.rows[other].line} and {table.rows[index].line} both have {load} {value:g} "
                f"but differ in {', '.join(differ)}; say which columns tell curves apart with --by {','.join(differ)}"
            )


def _is_name(table: Table, column: str) -> bool:
    """Whether a column holds names, with no number, no time and no yes or no among them."""
    cells = {table.cell(row, column).strip().lower() for row in table.rows}
    answers = ("yes", "no", "pass", "fail", "true", "false", "marginal")
    return not any(cell.startswith(answers) or is_nothing(cell) or _is_number(cell) or is_time(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    """Whether a cell is a number, alone or in a unit; `7B` and `4x` are names of models and machines."""
    found = read_number(cell)
    return found is not None and (not found.unit or (found.unit != "b" and unit_of(found.unit) is not None))


def _cell(table: Table, index: int, column: str) -> str:
    return table.cell(table.rows[index], column)


def _refuse_jumps(table: Table, columns: Columns, levels: Sequence[TableLevel]) -> None:
    for one, other in pairwise(levels):
        if one.figure > _JUMP * other.figure:
            raise UserError(
                f"{table.path}: {columns.metric} falls from {one.figure:g} at {one.load:g} to {other.figure:g} at "
                f"{other.load:g}; if that is milliseconds and seconds, write all of it in one unit"
            )
