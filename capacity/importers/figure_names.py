"""Naming a figure of the history from outside: `gpu.memory_used_bytes=fb_used:mib`, its column and its unit."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from capacity.tables.table import Table, TableFigure
from capacity.tables.time_columns import UNITS as TIME_UNITS
from whisper_ops.errors import UserError
from whisper_ops.exporters.mapping import FIGURES
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot, completed
from whisper_ops.units import BASE, Kind, kind_of, unit_of

_MOST = 2.0**53
"""Counts above it are no counts any more, and a history cannot keep them."""
_OVER_ONE = ("process_cpu_ratio", "wer_ratio")
"""Shares that may be over 1: of one core by a process of many threads, and of words that were not said."""


class FigureSource(msgspec.Struct, frozen=True):
    """Where a figure comes from, and the unit its bare numbers are in; '' where that was not said."""

    column: str
    unit: str = ""


def known_figures() -> list[str]:
    """Every name that can be mapped, but `at`: the figures that are numbers."""
    return [
        f"{kind}.{field.name}"
        for kind, struct in FIGURES.items()
        if kind != "identity"
        for field in msgspec.structs.fields(struct)
        if field.type in (int, int | None, float, float | None)
    ]


def parse_map(entries: tuple[str, ...], known: Collection[str], what: str) -> dict[str, FigureSource]:
    """Read `FIGURE=COLUMN[:UNIT]` entries; `what` names what the known figures belong to.

    Raises:
        UserError: an entry is not of that form, names a figure or a unit that does not exist, or a figure twice.
    """
    found: dict[str, FigureSource] = {}
    for entry in entries:
        figure, equals, rest = entry.partition("=")
        column, _, unit = rest.rpartition(":")
        if not column or (unit_of(unit) is None and not (figure == "at" and unit in TIME_UNITS)):
            column, unit = rest, ""
        if not equals or not column:
            raise UserError(f"--map takes FIGURE=COLUMN or FIGURE=COLUMN:UNIT, not {entry!r}")
        if figure not in known:
            close = ", ".join(sorted(name for name in known if figure.split(".")[-1][:6] in name)[:5])
            raise UserError(
                f"--map names {figure!r}, which is no figure of {what}{f'; near: {close}' if close else ''}"
            )
        if figure in found:
            raise UserError(f"--map names {figure} twice, with {found[figure].column} and with {column}; keep one")
        found[figure] = FigureSource(column, unit)
    return found


def in_base_units(table: Table, figure: str, source: FigureSource) -> list[float | None]:
    """A figure's column in base units.

    The unit is the one that a cell states or that stands over the column, else the one of --map, else the one in the
    column's name (`p95_ms`), else the base unit.

    Raises:
        UserError: a cell is no number, below 0 or impossible, its unit measures something else or contradicts --map, or
            a share is over 1 with no unit that says whether it is a percentage.
    """
    figures = table.figures(source.column)
    stated = {found.unit for found in figures if found is not None and found.unit}
    found: list[float | None] = []
    for cell in figures:
        if cell is None:
            found.append(None)
            continue
        where = f"{table.path}, line {cell.line}: {source.column} is {cell.value:g} {cell.unit}".rstrip()
        if stated and not cell.unit and not source.unit and cell.value:
            raise UserError(f"{where} with no unit, and other cells are in {', '.join(sorted(stated))}; write one unit")
        found.append(_checked(where, figure, cell.value * _factor(where, figure, source, cell.unit), cell, source))
    return found


def _factor(where: str, figure: str, source: FigureSource, stated: str) -> float:
    """What brings a number to the figure's base unit."""
    kind = kind_of(figure)
    written = stated or source.unit or _in_name(source.column, kind)
    if not written:
        return 1.0
    unit, mapped = unit_of(written), unit_of(source.unit) if source.unit else None
    if stated and mapped is not None and unit != mapped:
        raise UserError(f"{where}, and --map says {source.unit}; leave the unit out of --map")
    if unit is None or unit.kind != kind:
        base = "is a plain number" if kind is None else f"is in {BASE[kind]}"
        raise UserError(f"{where}, in {written!r}, and {figure} {base}")
    return unit.factor


def _in_name(column: str, kind: Kind | None) -> str:
    """The unit at the end of a column's name, such as `p95_ms`, where it is one of what the figure measures."""
    word = re.split(r"[_.\s]", column)[-1]
    unit = unit_of(word)
    return word if kind is not None and unit is not None and unit.kind == kind else ""


def _checked(where: str, figure: str, value: float, cell: TableFigure, source: FigureSource) -> float:
    if value < 0:
        raise UserError(f"{where}, which cannot be below 0")
    if value > _MOST:
        raise UserError(f"{where}, which is more than there can be")
    share = kind_of(figure) == "share" and not figure.endswith(_OVER_ONE)
    if share and value > 1:
        if cell.unit or source.unit:
            raise UserError(f"{where}, which as a share of {figure} is over 100 %")
        raise UserError(
            f"{where}, which may be {cell.value:g} % or {cell.value:g} times the whole; if it is a percentage, write "
            f"--map {figure}={source.column}:%"
        )
    return value


class ImportedPoll(msgspec.Struct):
    """Figures of one server at one moment, while they are put together."""

    server: dict[str, float]
    host: dict[str, float]
    gpus: dict[int, dict[str, float]]

    @classmethod
    def empty(cls) -> "ImportedPoll":
        return cls({}, {}, {})

    def put(self, figure: str, value: float, gpu: int = 0) -> None:
        """Add one figure by its mapped name, in base units."""
        kind, _, name = figure.partition(".")
        place = self.gpus.setdefault(gpu, {}) if kind == "gpu" else self.server if kind == "server" else self.host
        place[name] = value

    def snapshot(self, name: str, at: float, identity: Identity) -> Snapshot:
        """A poll as a recorder would have made it."""
        return completed(
            Snapshot(
                server=name,
                at=at,
                identity=identity,
                figures=_made(ServerFigures, self.server),
                gpus=tuple(
                    _made(GpuFigures, {**figures, "gpu_id": gpu_id}) for gpu_id, figures in sorted(self.gpus.items())
                ),
                host=_made(HostFigures, self.host) if self.host else None,
            )
        )


def _made(kind: Any, figures: Mapping[str, float]) -> Any:  # noqa: ANN401  # one of the three figure types
    """A struct of figures; counts are whole numbers there."""
    whole = {
        field.name
        for field in msgspec.structs.fields(kind)
        if "int" in str(field.type) and "float" not in str(field.type)
    }
    return kind(**{name: round(value) if name in whole else value for name, value in figures.items()})
