"""Polls from a CSV file: one row a moment, its columns mapped to figures of the history."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from capacity.fit.table import Row, Table
from capacity.importing.figures import Moment, Source
from whisper_ops.errors import UserError
from whisper_ops.snapshot import Identity, Snapshot


def snapshots(
    table: Table, sources: dict[str, Source], server: str, identity: Identity, by: str | None = None
) -> Iterator[Snapshot]:
    """The rows as polls; with `by`, the column whose values tell servers apart.

    Raises:
        UserError: a column is missing, the time cannot be read, or a figure is text or below 0.
    """
    if "at" not in sources:
        raise UserError(
            "--map needs at=COLUMN, the column of the time (seconds since 1970, or like 2026-01-31T12:00:00)"
        )
    table.require(*(source.column for source in sources.values()), *([by] if by else []))
    figures = {figure: source for figure, source in sources.items() if figure != "at"}
    if not any(figure.endswith("streams_active") for figure in figures):
        raise UserError("--map needs server.streams_active=COLUMN or gpu.streams_active=COLUMN, the load of every law")
    numbers = {figure: table.numbers(source.column) for figure, source in figures.items()}
    for index, row in enumerate(table.rows):
        moment = Moment.empty()
        for figure, source in figures.items():
            value = numbers[figure][index]
            if value is not None:
                moment.put(figure, _checked(table, row, source.column, value) * source.factor)
        name = f"{server}/{row.cells[by]}" if by else server
        yield moment.snapshot(name, _time(table, row, sources["at"]), identity)


def _checked(table: Table, row: Row, column: str, value: float) -> float:
    if value < 0:
        raise UserError(f"{table.path}, line {row.line}: {column} is {value:g}, which cannot be below 0")
    return value


def _time(table: Table, row: Row, source: Source) -> float:
    cell = row.cells[source.column].strip()
    try:
        seconds = float(cell) * source.factor
    except ValueError:
        try:
            moment = datetime.fromisoformat(cell)
        except ValueError:
            raise UserError(
                f"{table.path}, line {row.line}: {source.column} is {cell!r}, which is no time; write seconds since "
                "1970 or like 2026-01-31T12:00:00+00:00"
            ) from None
        # A time without a zone is taken for UTC, as everything in the history is.
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds) or seconds < 0:
        raise UserError(f"{table.path}, line {row.line}: {source.column} is {cell!r}, which is no time after 1970")
    return seconds
