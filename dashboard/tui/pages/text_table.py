"""Tables of styled text: which columns a width has room for, their header and their rows."""

from collections.abc import Sequence

import msgspec

from dashboard.tui.pages.styled_lines import Align, Cell, Line, Style, TextSpan, fit

_FAR = 48
"""Cells of a name, beyond which more of them only part it from its row."""
_GAP = 2
"""Cells between two columns."""


class TextColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a table: shown when the page is at least `at` cells wide."""

    key: str
    title: str
    width: int
    align: Align = "left"
    at: int = 0
    style: Style = "label"
    sorts: str | None = None
    """The fact that a click on its title sorts by."""
    grows: bool = False
    """Takes what the other columns leave, and never less than `width`."""


class TextTable:
    """The columns that a page of `width` cells shows, the growing one stretched to fill it."""

    def __init__(self, columns: Sequence[TextColumn], width: int, name_width: int = 0) -> None:
        """`name_width`: cells that the growing column needs so that no name is cut; others may leave for it."""
        self._columns = _fitted(columns, width, min(name_width, width // 2))

    def width_of(self, key: str) -> int:
        """Cells of the column of that key, which is shown."""
        return next(column.width for column in self._columns if column.key == key)

    def header(self, sorted_by: str | None = None) -> Line:
        """The titles; the column it is sorted by is marked, a click on any sorts by it."""
        spans: list[TextSpan] = []
        for column in self._columns:
            by_this = sorted_by is not None and column.sorts == sorted_by
            style: Style = "accent" if by_this else column.style
            run = f"sort {column.sorts}" if column.sorts else None
            # The mark of a right-aligned title stands in the gap, so that no title loses its room to it.
            title, gap = column.title, "  "
            if by_this:
                title, gap = (title, "▾ ") if column.align == "right" else (f"{title} ▾", gap)
            spans += [*fit((TextSpan(title, style, run),), column.width, column.align), TextSpan(gap, style)]
        return Line(tuple(spans))

    def row(self, cells: dict[str, Cell], key: str | None = None) -> Line:
        """A row, with a cell for each key of a column; a column without one stays empty. `key`: see `row_keys`."""
        spans: list[TextSpan] = []
        for column in self._columns:
            spans += [*fit(cells.get(column.key, ()), column.width, column.align), TextSpan("  ")]
        return Line(tuple(spans), key)


def _fitted(columns: Sequence[TextColumn], width: int, name_width: int) -> list[TextColumn]:
    shown = [column for column in columns if width >= column.at]
    leaving = sorted((column for column in shown if column.at), key=lambda column: column.at)
    while leaving and _taken(shown, name_width) > width:
        shown.remove(leaving.pop())
    spare = width - _taken(shown, 0)
    if name_width:  # a figure far from its name is hard to read across
        spare = min(spare, max(name_width, _FAR) - max(column.width for column in shown if column.grows))
    return [_stretched(column, spare, name_width) if column.grows else column for column in shown]


def _stretched(column: TextColumn, spare: int, name_width: int) -> TextColumn:
    # Behind the last column there is a gap, too, which a name may have where there is no other room.
    width = max(column.width + max(0, spare), min(name_width, column.width + spare + _GAP))
    return msgspec.structs.replace(column, width=width)


def _taken(columns: Sequence[TextColumn], name_width: int) -> int:
    return sum(max(column.width, name_width if column.grows else 0) + _GAP for column in columns)
