"""A table of load levels from a CSV file, with every doubt about its numbers said in one sentence."""

import csv
import math
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from whisper_ops.errors import UserError

_NUMBER = re.compile(r"^\s*(?P<number>[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?)\s*(?P<unit>[a-zA-Z%µ/][\w%µ/]*)?\s*$")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:[,_' \u00a0\u2009\u202f]\d{3})+(?![\d,])")
"""`1,038` or `1 038`: digits in groups of three, each after the same kind of mark."""
_GROUPED = re.compile(r"^\s*\d{1,3}(,\d{3})+\s*$")
_SPACED = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f](?=\d{3})")
_DELIMITERS = ",;\t"
_NOTHING = frozenset({"", "-", "—", "na", "n/a", "nan", "null", "none"})


class Row(msgspec.Struct, frozen=True):
    """One row: its line in the file, and its cells by column."""

    line: int
    cells: dict[str, str]


class Table(msgspec.Struct, frozen=True):
    """A file's rows; comments are left out."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    decimal_comma: bool = False
    """Whether `38,5` is a number: in files whose cells are parted by semicolons, as some countries' programs write."""

    def require(self, *columns: str) -> None:
        """Raise UserError for a column that the file does not have."""
        for column in columns:
            if column not in self.columns:
                raise UserError(f"{self.path} has no column {column!r}; it has {', '.join(self.columns)}")

    def numbers(self, column: str) -> list[float | None]:
        """The column as numbers, None where a cell is empty.

        Raises:
            UserError: a cell is text, or cells carry different units.
        """
        self.require(column)
        self._refuse_ambiguous(column)
        units: dict[str, int] = {}
        found = [self._number(row, column, units) for row in self.rows]
        if len(units) > 1:
            (one, first), (other, second) = list(units.items())[:2]
            raise UserError(
                f"{self.path}: column {column!r} mixes units, {one or 'none'} in line {first} and {other or 'none'} in "
                f"line {second}; write all of it in one unit"
            )
        return found

    def unit(self, column: str) -> str | None:
        """The unit that the column's cells carry, as in `37%`; None when they are bare numbers."""
        found = (_NUMBER.match(self._plain(row.cells[column])) for row in self.rows)
        return next((match["unit"] for match in found if match is not None and match["unit"]), None)

    def where(self, key: dict[str, str]) -> "Table":
        """The rows whose cells equal `key`."""
        rows = tuple(row for row in self.rows if all(row.cells[column] == value for column, value in key.items()))
        return msgspec.structs.replace(self, rows=rows)

    def keys(self, columns: Sequence[str]) -> list[dict[str, str]]:
        """The different values of some columns, in the order of the file."""
        self.require(*columns)
        seen = {tuple(row.cells[column] for column in columns): None for row in self.rows}
        return [dict(zip(columns, values, strict=True)) for values in seen]

    def _number(self, row: Row, column: str, units: dict[str, int]) -> float | None:
        cell = row.cells[column]
        if cell.strip().lower() in _NOTHING:
            return None
        match = _NUMBER.match(self._plain(cell))
        if match is None:
            raise UserError(f"{self.path}, line {row.line}: {column} is {cell!r}, which is not a number")
        units.setdefault(match["unit"] or "", row.line)
        number = float(match["number"])
        if not math.isfinite(number):
            raise UserError(f"{self.path}, line {row.line}: {column} is {cell!r}, which is no finite number")
        return number

    def _plain(self, cell: str) -> str:
        """The cell without marks between thousands, and with a point before decimals."""
        if self.decimal_comma and "," in cell:
            return _SPACED.sub("", cell.replace(".", "")).replace(",", ".")
        return _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), cell)

    def _refuse_ambiguous(self, column: str) -> None:
        """Raise UserError where `1,038` may as well be 1038 as 1.038 and no other cell of the column tells."""
        commas = [row for row in self.rows if "," in row.cells[column]] if self.decimal_comma else []
        if commas and all(_GROUPED.match(row.cells[column]) for row in commas):
            cell = commas[0].cells[column].strip()
            raise UserError(
                f"{self.path}, line {commas[0].line}: {column} is {cell!r}, which may be {cell.replace(',', '')} or "
                f"{cell.replace(',', '.')}; write it with a point or without the comma"
            )


def read(path: Path) -> Table:
    """Read a CSV file, its cells parted by commas, semicolons or tabs. Lines that start with `#` are comments.

    Raises:
        UserError: the file cannot be read, is no text, has no header, or a row has more or fewer cells than the header.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; name a CSV file with one load level a row") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    kept = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and line.lstrip()[0] != "#"]
    if not kept:
        raise UserError(f"{path} is empty; it needs a line of column names and one line a load level")
    # Names of columns hold no delimiter, so the header tells which one it is.
    delimiter = max(_DELIMITERS, key=kept[0][1].count)
    try:
        parsed = list(csv.reader([line for _, line in kept], strict=True, delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"{path} is no CSV file: {error}") from error
    header = tuple(name.strip() for name in parsed[0])
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f"{path} names the column {repeated!r} twice; give each column its own name")
    rows = tuple(_row(path, header, line, cells) for (line, _), cells in zip(kept[1:], parsed[1:], strict=True))
    return Table(path, header, rows, decimal_comma=delimiter == ";")


def _row(path: Path, header: tuple[str, ...], line: int, cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise UserError(f"{path}, line {line}: {len(cells)} cells under {len(header)} column names")
    return Row(line, dict(zip(header, cells, strict=True)))
