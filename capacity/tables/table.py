"""A table from a file: its columns, its rows, and its numbers, with every doubt about them said in one sentence."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from capacity.tables.cells import Mark, is_nothing, number
from capacity.tables.decimal_marks import Numbered, decide, told
from whisper_ops.errors import UserError


class TableRow(msgspec.Struct, frozen=True):
    """One row: the line of the file it begins in, and its cells by column."""

    line: int
    cells: dict[str, str]


class TableColumn(msgspec.Struct, frozen=True):
    """A column: its name as written, the name without a unit in brackets, and that unit."""

    name: str
    short: str
    unit: str = ""


class TableFigure(NamedTuple):
    """A number of one row and the unit that is stated for it, in its cell or over its column; '' for none."""

    value: float
    unit: str
    line: int


class Table(msgspec.Struct, frozen=True, dict=True, kw_only=True):
    """A file's rows; comments are left out."""

    path: Path
    header: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]
    delimiter: str = ","
    decimal: Mark | None = None
    """The mark before decimals as it was told; None: the cells tell."""
    repeated: frozenset[str] = frozenset()
    """Names that more than one column has, and which so name none."""
    whole: tuple[TableRow, ...] | None = None
    """Every row of the file, where `rows` are some of them."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names as the file writes them."""
        return tuple(column.name for column in self.header)

    @cached_property
    def _known(self) -> dict[str, TableColumn]:
        """Columns by every name that means one of them: its own, and that without the unit."""
        shorts = [column.short for column in self.header]
        short = {column.short: column for column in self.header if shorts.count(column.short) == 1}
        return short | {column.name: column for column in self.header}

    @cached_property
    def _marks(self) -> dict[str, Mark]:
        """The mark of each column that allows only one, over the whole file."""
        rows = self.rows if self.whole is None else self.whole
        found = {name: told(row.cells[name] for row in rows) for name in self.columns}
        return {name: mark for name, mark in found.items() if mark is not None}

    def require(self, *columns: str) -> None:
        """Raise UserError for a column that the file does not have, or has twice."""
        for column in columns:
            if column in self.repeated:
                raise UserError(f"{self.path} names the column {column!r} twice; give each column its own name")
            if column not in self._known:
                raise UserError(f"{self.path} has no column {column!r}; it has {', '.join(self.columns)}")

    def cell(self, row: TableRow, column: str) -> str:
        return row.cells[self._known[column].name]

    def figures(self, column: str) -> list[TableFigure | None]:
        """The column as numbers with their stated units, None where a cell says that nothing is known.

        Raises:
            UserError: a cell is text, may be read in two ways, or states another unit than its column does.
        """
        self.require(column)
        over = self._known[column].unit
        found: list[Numbered | None] = []
        for row in self.rows:
            cell = self.cell(row, column)
            read = None if is_nothing(cell) else number(cell)
            if read is None and not is_nothing(cell):
                raise UserError(f"{self.path}, line {row.line}: {column} is {cell!r}, which is not a number")
            if read is not None and read.unit and over and read.unit.lower() != over.lower():
                raise UserError(
                    f"{self.path}, line {row.line}: {column} is {cell!r}, and its column is in {over}; write one unit"
                )
            found.append(None if read is None else (row.line, cell, read))
        mark = self._mark(column, [cell for cell in found if cell is not None])
        return [None if cell is None else self._figure(column, cell, mark, over) for cell in found]

    def numbers(self, column: str) -> list[float | None]:
        """The column as numbers, all in one unit or in none, None where nothing is known.

        Raises:
            UserError: a cell is no number, or cells carry different units.
        """
        figures = self.figures(column)
        units: dict[str, int] = {}
        for figure in figures:
            if figure is not None and (figure.value or figure.unit):  # nothing is nothing in every unit
                units.setdefault(figure.unit, figure.line)
        if len(units) > 1:
            (one, first), (other, second) = list(units.items())[:2]
            raise UserError(
                f"{self.path}: column {column!r} mixes units, {one or 'none'} in line {first} and {other or 'none'} in "
                f"line {second}; write all of it in one unit"
            )
        return [None if figure is None else figure.value for figure in figures]

    def unit(self, column: str) -> str | None:
        """The unit that the column or its cells state, as in `37%`; None when they are bare numbers."""
        return next((figure.unit for figure in self.figures(column) if figure is not None and figure.unit), None)

    def where(self, key: dict[str, str]) -> "Table":
        """The rows whose cells equal `key`."""
        rows = tuple(row for row in self.rows if all(self.cell(row, column) == value for column, value in key.items()))
        return msgspec.structs.replace(self, rows=rows, whole=self.rows if self.whole is None else self.whole)

    def keys(self, columns: Sequence[str]) -> list[dict[str, str]]:
        """The different values of some columns, in the order of the file."""
        self.require(*columns)
        seen = {tuple(self.cell(row, column) for column in columns): None for row in self.rows}
        return [dict(zip(columns, values, strict=True)) for values in seen]

    def _mark(self, column: str, cells: Sequence[Numbered]) -> Mark:
        if self.decimal is not None:
            return self.decimal
        return decide(self.path, column, cells, lambda: self._elsewhere(self._known[column].name), self.delimiter)

    def _elsewhere(self, name: str) -> set[Mark]:
        """What the rest of the file says of decimals: the other rows of the column, else the other columns."""
        own = self._marks.get(name)
        return {own} if own else set(self._marks.values())

    def _figure(self, column: str, cell: Numbered, mark: Mark, over: str) -> TableFigure:
        line, text, read = cell
        if mark not in read.values:
            word = "comma" if mark == "," else "point"
            raise UserError(f"{self.path}, line {line}: {column} is {text!r}, which is no number with a decimal {word}")
        return TableFigure(read.values[mark], read.unit or over, line)
