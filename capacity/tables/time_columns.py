"""The times of a column: seconds, milliseconds or microseconds since 1970, ISO, and the dates of spreadsheets."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from capacity.tables.cells import is_nothing, number
from capacity.tables.table import Table, TableRow
from whisper_ops.errors import UserError

LAST = 4_102_444_800.0
"""The year 2100: a time behind it was read in the wrong unit."""
_EPOCHS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
UNITS = (*_EPOCHS, "excel")
_EXCEL_DAYS = (32874.0, 73050.0)
"""1990 to 2100 in days since the end of 1899, a spreadsheet's own count."""
_FIRST_EPOCH = 1e8
"""Seconds since 1970 that are a moment of our days (1973 on) rather than seconds since the start of something."""

_CLOCK = r"(?:[ T,]+(?P<clock>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?)\s*(?P<half>[aApP]\.?[mM]\.?)?)?"
_ZONE = r"\s*(?P<zone>Z|z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}|[+-][0-9]{2})?"
_N = r"[0-9]{1,2}"
_YEAR_FIRST = re.compile(rf"(?P<year>[0-9]{{4}})(?P<by>[-/.])(?P<one>{_N})(?P=by)(?P<two>{_N}){_CLOCK}{_ZONE}")
_YEAR_LAST = re.compile(rf"(?P<one>{_N})(?P<by>[-/.])(?P<two>{_N})(?P=by)(?P<year>[0-9]{{4}}){_CLOCK}{_ZONE}")
_COMPACT = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
"""`20260131`, which is also a number."""


def is_time(cell: str) -> bool:
    """Whether a cell is a date, with or without a time of day."""
    return _YEAR_FIRST.fullmatch(cell.strip()) is not None or _YEAR_LAST.fullmatch(cell.strip()) is not None


def times(table: Table, column: str, unit: str | None = None) -> list[float]:
    """The column in UTC epoch seconds; a time without a zone is taken for UTC, as everything in the history is.

    Args:
        table: the rows.
        column: its name.
        unit: what numbers count: s, ms, us or ns since 1970, or `excel`, days; None: as large as they are.

    Raises:
        UserError: a cell is no time, or may be two.
    """
    table.require(column)
    cells = [table.cell(row, column).strip() for row in table.rows]
    for row, cell in zip(table.rows, cells, strict=True):
        if is_nothing(cell):
            raise UserError(f"{table.path}, line {row.line}: {column} is {cell!r}, and a row needs its time")
    if cells and all(map(_counts, cells)):
        numbers = [value or 0.0 for value in table.numbers(column)]
        found = _counted(table, column, numbers, _unit(table, column, unit))
    else:
        day_first = _day_first(table, column, cells)
        found = [_written(table, row, column, cell, day_first) for row, cell in zip(table.rows, cells, strict=True)]
    for row, cell, at in zip(table.rows, cells, found, strict=True):
        if not 0 <= at <= LAST:
            raise UserError(f"{table.path}, line {row.line}: {column} is {cell!r}, which is no time from 1970 to 2100")
    return found


def _counts(cell: str) -> bool:
    """Whether a cell is a number, and not a date such as `20261128T120000Z`, which begins with one."""
    found = number(cell)
    return found is not None and not any(letter.isdigit() for letter in found.unit)


def _unit(table: Table, column: str, asked: str | None) -> str | None:
    """What numbers count: as asked, or as their cells or their column state."""
    stated = table.unit(column)
    if stated is None or stated == asked:
        return asked
    if asked is not None or stated not in _EPOCHS:
        wanted = f"and at={column}:{asked} says {asked}" if asked else f"which counts no time; say {', '.join(_EPOCHS)}"
        raise UserError(f"{table.path}: the times in {column} are in {stated}, {wanted}")
    return stated


def _counted(table: Table, column: str, numbers: Sequence[float], unit: str | None) -> list[float]:
    if unit == "excel":
        return [_of_excel(value) for value in numbers]
    if unit is not None:
        return [value * _EPOCHS[unit] for value in numbers]
    if numbers and all(_EXCEL_DAYS[0] <= value <= _EXCEL_DAYS[1] for value in numbers):
        first, day = table.rows[0], _shown(_of_excel(numbers[0]))
        raise UserError(
            f"{table.path}, line {first.line}: {column} is {numbers[0]:g}, which may be {numbers[0]:g} seconds or a "
            f"spreadsheet's {day}; say which with at={column}:s or at={column}:excel"
        )
    if numbers and all(value.is_integer() and _COMPACT.fullmatch(f"{value:.0f}") for value in numbers):
        raise UserError(
            f"{table.path}, line {table.rows[0].line}: {column} is {numbers[0]:.0f}, which may be a date or so many "
            f"seconds; write dates like 2026-01-31, or say seconds with at={column}:s"
        )
    scales = [_scale(table, row, column, value) for row, value in zip(table.rows, numbers, strict=True)]
    for row, scale in zip(table.rows, scales, strict=True):
        if scale != scales[0]:
            raise UserError(
                f"{table.path}: {column} counts in {scales[0]} in line {table.rows[0].line} and in {scale} in line "
                f"{row.line}, by the size of its numbers; write all of it in one unit"
            )
    return [value * _EPOCHS[scale] for value, scale in zip(numbers, scales, strict=True)]


def _scale(table: Table, row: TableRow, column: str, value: float) -> str:
    """What a number since 1970 counts, by its size: in each unit our days have numbers of their own."""
    if value <= LAST:
        return "s"
    for unit, factor in _EPOCHS.items():
        if _FIRST_EPOCH <= value * factor <= LAST:
            return unit
    raise UserError(
        f"{table.path}, line {row.line}: {column} is {value:.15g}, which is {_shown(value)} in seconds and "
        f"{_shown(value / 1000)} in milliseconds; say which with at={column}:s, :ms, :us or :ns"
    )


def _of_excel(days: float) -> float:
    return (days - 25569.0) * 86_400.0


def _shown(seconds: float) -> str:
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%d}"
    except OverflowError:
        return f"the year {1970 + seconds / 31_556_952:.0f}"


def _day_first(table: Table, column: str, cells: Sequence[str]) -> bool | None:
    """Whether `03/04/2026` begins with the day, as the column tells; None where no cell is of that form.

    Raises:
        UserError: the column tells both, or neither.
    """
    found = [(row, match) for row, cell in zip(table.rows, cells, strict=True) if (match := _YEAR_LAST.fullmatch(cell))]
    days = [row for row, match in found if match["by"] == "." or int(match["one"]) > 12]
    months = [row for row, match in found if match["by"] != "." and int(match["two"]) > 12]
    if days and months:
        raise UserError(
            f"{table.path}: {column} begins with the day in line {days[0].line} and with the month in line "
            f"{months[0].line}; write dates like 2026-01-31"
        )
    either = next(((row, match) for row, match in found if match["one"] != match["two"]), None)
    if either is None or days or months:
        return bool(days) if found else None
    row, match = either
    one, two, year = int(match["one"]), int(match["two"]), match["year"]
    raise UserError(
        f"{table.path}, line {row.line}: {column} is {match[0]!r}, which may be {year}-{two:02}-{one:02} or "
        f"{year}-{one:02}-{two:02}; write dates like 2026-01-31"
    )


def _written(table: Table, row: TableRow, column: str, cell: str, day_first: bool | None) -> float:
    for read in _READERS:
        try:
            moment = read(cell, bool(day_first))
        except (ValueError, IndexError, TypeError, OverflowError):
            continue
        if moment is not None:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    raise UserError(
        f"{table.path}, line {row.line}: {column} is {cell!r}, which is no time; write seconds since 1970 or like "
        "2026-01-31T12:00:00+00:00"
    )


def _dated(cell: str, day_first: bool) -> datetime | None:
    match = _YEAR_FIRST.fullmatch(cell)
    if match is not None:
        year, month, day = int(match["year"]), int(match["one"]), int(match["two"])
    elif (match := _YEAR_LAST.fullmatch(cell)) is not None:
        year, one, two = int(match["year"]), int(match["one"]), int(match["two"])
        month, day = (two, one) if day_first else (one, two)
    else:
        return None
    seconds = _seconds_of_day(match["clock"] or "0:00", match["half"])
    return datetime(year, month, day, tzinfo=_zone(match["zone"])) + timedelta(seconds=seconds)


def _seconds_of_day(clock: str, half: str | None) -> float:
    """Raises ValueError for an hour, a minute or a second that no clock has."""
    parts = [float(part) for part in clock.replace(",", ".").split(":")]
    hour, minute, second = int(parts[0]), int(parts[1]), parts[2] if len(parts) > 2 else 0.0
    if half is not None:
        if not 1 <= hour <= 12:
            raise ValueError(clock)
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    if hour > 23 or minute > 59 or second >= 61:
        raise ValueError(clock)
    return hour * 3600.0 + minute * 60.0 + second


def _zone(text: str | None) -> timezone:
    if text is None or text in "ZzUTCGMT":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-away if text[0] == "-" else away)


def _iso(cell: str, _: bool) -> datetime:
    return datetime.fromisoformat(cell)


def _mailed(cell: str, _: bool) -> datetime:
    """`Sat, 28 Nov 2026 13:54:31 +0000`."""
    return parsedate_to_datetime(cell)


_READERS: tuple[Callable[[str, bool], datetime | None], ...] = (_dated, _iso, _mailed)
