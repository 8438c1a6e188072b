"""Polls from a CSV file: one row a moment, or one a moment and GPU, its columns mapped to figures of the history."""

from collections.abc import Iterator

from capacity.importers.figure_names import FigureSource, ImportedPoll, in_base_units
from capacity.tables.table import Table
from capacity.tables.time_columns import times
from whisper_ops.errors import UserError
from whisper_ops.identity import Identity
from whisper_ops.snapshot import Snapshot

_GPU = "gpu.gpu_id"
Key = tuple[str, float]
"""A server's name, and a moment."""


def snapshots(
    table: Table, sources: dict[str, FigureSource], server: str, identity: Identity, by: str | None = None
) -> Iterator[Snapshot]:
    """The rows as polls; with `by`, the column whose values tell servers apart.

    Raises:
        UserError: a column is missing, a time or a figure cannot be read, or two rows are one GPU at one moment.
    """
    if "at" not in sources:
        raise UserError(
            "--map needs at=COLUMN, the column of the time (seconds since 1970, or like 2026-01-31T12:00:00)"
        )
    table.require(*(source.column for source in sources.values()), *([by] if by else []))
    figures = {figure: source for figure, source in sources.items() if figure not in ("at", _GPU)}
    if not any(figure.endswith("streams_active") for figure in figures):
        raise UserError("--map needs server.streams_active=COLUMN or gpu.streams_active=COLUMN, the load of every law")
    at = times(table, sources["at"].column, sources["at"].unit or None)
    gpus = in_base_units(table, _GPU, sources[_GPU]) if _GPU in sources else [0.0] * len(table.rows)
    numbers = {figure: in_base_units(table, figure, source) for figure, source in figures.items()}
    moments: dict[Key, ImportedPoll] = {}
    seen: dict[tuple[Key, int], int] = {}
    for index, row in enumerate(table.rows):
        key: Key = (f"{server}/{table.cell(row, by)}" if by else server, at[index])
        gpu = int(gpus[index] or 0)
        if (key, gpu) in seen:
            raise UserError(
                f"{table.path}: lines {seen[key, gpu]} and {row.line} are {key[0]} at the same moment; say which "
                f"column numbers the GPUs with --map {_GPU}=COLUMN, or which tells servers apart with --by COLUMN"
            )
        seen[key, gpu] = row.line
        moment = moments.setdefault(key, ImportedPoll.empty())
        for figure, values in numbers.items():
            value = values[index]
            if value is not None:
                moment.put(figure, value, gpu)
    for (name, moment_at), moment in moments.items():
        yield moment.snapshot(name, moment_at, identity)
