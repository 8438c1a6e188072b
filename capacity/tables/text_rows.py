"""From bytes to rows: the text's encoding, what parts its cells, comments, quoted line breaks, and lines of units."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from capacity.tables.cells import Mark, is_nothing
from capacity.tables.table import Table, TableColumn, TableRow
from whisper_ops.errors import UserError
from whisper_ops.text_bounds import short
from whisper_ops.units import unit_of
from whisper_ops.user_files import read_bytes

MOST_BYTES = 512 * 2**20
_DELIMITERS = ";,\t|"
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"),
         (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))  # fmt: skip
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)
"""The first line by which Excel is told what parts cells."""
_IN_BRACKETS = re.compile(r"(?P<short>.*\S)\s*[\[(](?P<unit>[^\[\]()]+)[\])]")

_UNIT_WORDS = ("unit", "units", "einheit", "unité")
"""What may stand before a line of units."""

Line = tuple[int, str]
Record = tuple[int, list[str]]
"""The line a record begins in, and its cells."""


def read(path: Path, decimal: Mark | None = None) -> Table:
    """Read a CSV file, its cells parted by commas, semicolons, tabs or bars. Lines that start with `#` are comments.

    Args:
        path: the file.
        decimal: the mark before decimals where the file does not tell; None: it must tell.

    Raises:
        UserError: the file cannot be read, is no text, has no header, or a row has more or fewer cells than the header.
    """
    lines = list(enumerate(io.StringIO(_text(path), newline=""), 1))
    kept = [(line, text) for line, text in lines if text.strip() and not text.lstrip().startswith("#")]
    said = _SEPARATOR.fullmatch(kept[0][1]) if kept else None
    if said is not None:
        lines, kept = lines[kept[0][0] :], kept[1:]
    if not kept:
        raise UserError(f"{path} is empty; it needs a line of column names and one line a load level")
    try:
        delimiter = said[1] if said else _delimiter(kept[0][1])
        (_, names), *records = _records(lines, delimiter)
    except csv.Error as error:
        raise UserError(f"{path} is no CSV file: {error}") from error
    header = [_column(name) for name in names]
    records = [(line, cells) for line, cells in records if cells != names and any(cell.strip() for cell in cells)]
    header, records = _without_units(header, records)
    rows = tuple(_row(path, header, line, cells) for line, cells in records)
    counts = Counter(column.name for column in header if column.name)
    once = tuple(column for column in header if counts[column.name] == 1)
    repeated = frozenset(name for name, count in counts.items() if count > 1)
    return Table(path=path, header=once, rows=rows, delimiter=delimiter, decimal=decimal, repeated=repeated)


def _text(path: Path) -> str:
    data = read_bytes(path, most=MOST_BYTES)
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _decoded(path, data[len(mark) :], encoding)
    if b"\0" in data:  # UTF-16 without its mark has a zero beside each plain letter; pictures and programs do not
        for encoding, zeros, letters in (("utf-16-le", data[1::2], data[::2]), ("utf-16-be", data[::2], data[1::2])):
            if zeros.count(0) > 0.9 * len(zeros) and not letters.count(0):
                return _decoded(path, data, encoding)
        raise UserError(f"{path} is not a text file; name a CSV file with one load level a row")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _decoded(path, data, "cp1252")  # what spreadsheets of western Europe write


def _decoded(path: Path, data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{path} is not a text file; name a CSV file with one load level a row")
    return text


def _delimiter(header: str) -> str:
    """Names of columns hold no delimiter unless they are quoted, so the header tells which one it is."""
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark, skipinitialspace=True))))


def _records(lines: list[Line], delimiter: str) -> Iterator[Record]:
    """The records with the line each begins in. Comments and empty lines count as such only between records."""
    begins: list[int] = []

    def fed() -> Iterator[str]:
        for line, text in lines:
            if not begins:
                if not text.strip() or text.lstrip().startswith("#"):
                    continue
                begins.append(line)
            yield text

    reader = csv.reader(fed(), strict=True, delimiter=delimiter, skipinitialspace=delimiter != "\t")
    for cells in reader:
        yield begins.pop(), cells


def _column(name: str) -> TableColumn:
    plain = " ".join(short(name, "a column's name").split())
    match = _IN_BRACKETS.fullmatch(plain)
    if match is None:
        return TableColumn(plain, plain)
    unit = match["unit"].strip()
    return TableColumn(plain, match["short"], unit if unit_of(unit) or "/" in unit else "")


def _without_units(header: list[TableColumn], records: list[Record]) -> tuple[list[TableColumn], list[Record]]:
    """Take a line that holds nothing but units, under the names or at the end, for the units of the columns."""
    for place in (0, -1):
        if len(records) > 1 and _is_units(records[place][1]):
            _, units = records.pop(place)
            units += [""] * (len(header) - len(units))
            return [
                TableColumn(column.name, column.short, column.unit or _bare(unit))
                for column, unit in zip(header, units, strict=False)
            ], records
    return header, records


def _is_units(cells: list[str]) -> bool:
    units = [unit_of(_bare(cell)) is not None for cell in cells]
    words = (is_nothing(cell) or cell.strip().lower() in _UNIT_WORDS for cell in cells)
    return any(units) and all(unit or word for unit, word in zip(units, words, strict=True))


def _bare(cell: str) -> str:
    return cell.strip().strip("[]()").strip()


def _row(path: Path, header: list[TableColumn], line: int, cells: list[str]) -> TableRow:
    more = len(cells) - len(header)
    if more > 0 and not any(cell.strip() for cell in cells[-more:]):  # each line ends with what parts cells
        cells = cells[:-more]
    if len(cells) != len(header):
        raise UserError(f"{path}, line {line}: {len(cells)} cells under {len(header)} column names")
    return TableRow(line, {column.name: cell for column, cell in zip(header, cells, strict=True)})
