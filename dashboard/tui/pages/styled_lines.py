"""Lines of styled text: the vocabulary between pages and the terminal.

A style is a word for what something means (`ok`, `warn`, `bad`, `dim`…); a theme says which colour that is. Every line
is legible without any of them.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

Style = Literal["", "dim", "label", "title", "ok", "note", "warn", "bad", "accent", "fill", "rest", "mark", "key"]
STYLES: tuple[Style, ...] = (
    "", "dim", "label", "title", "ok", "note", "warn", "bad", "accent", "fill", "rest", "mark", "key",
)  # fmt: skip

Align = Literal["left", "right"]


class TextSpan(NamedTuple):
    """A piece of a line in one style; `run` is a command that a click on it runs."""

    text: str
    style: Style = ""
    run: str | None = None


Cell = tuple[TextSpan, ...]


class Line(msgspec.Struct, frozen=True):
    """A line of a page. One with a `key` can be selected, opened and copied."""

    spans: Cell = ()
    key: str | None = None

    @property
    def text(self) -> str:
        """The line without its styles."""
        return "".join(span.text for span in self.spans)


BLANK = Line()
_FAR = 48
"""Cells of a name, beyond which more of them only part it from its row."""
_GAP = 2
"""Cells between two columns."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What a screen shows: `head` stays where it is, `body` scrolls under it."""

    crumbs: tuple[str, ...]
    head: tuple[Line, ...] = ()
    body: tuple[Line, ...] = ()

    @property
    def text(self) -> str:
        """The page as plain text, for tests and pipes."""
        return "\n".join(line.text.rstrip() for line in (*self.head, *self.body))


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


def cell(text: str, style: Style = "") -> Cell:
    """A cell of one style."""
    return (TextSpan(text, style),)


def line(*spans: TextSpan | str, key: str | None = None) -> Line:
    """A line of spans and plain strings."""
    return Line(tuple(span if isinstance(span, TextSpan) else TextSpan(span) for span in spans), key)


def width_of(spans: Iterable[TextSpan]) -> int:
    """How many cells spans take. Everything that the pages print is one cell a character."""
    return sum(len(span.text) for span in spans)


def fit(spans: Cell, width: int, align: Align = "left") -> Cell:
    """Cut or pad spans to exactly `width` cells."""
    missing = width - width_of(spans)
    if missing >= 0:
        pad = TextSpan(" " * missing)
        return (pad, *spans) if align == "right" else (*spans, pad)
    return cut(spans, width)


def cut(spans: Cell, width: int) -> Cell:
    """Cut spans to at most `width` cells, with `…` where something was cut."""
    if width_of(spans) <= width:
        return spans
    kept: list[TextSpan] = []
    left = width - 1
    for span in spans:
        if left <= 0:
            break
        kept.append(span._replace(text=span.text[:left]))
        left -= len(kept[-1].text)
    return (*kept, TextSpan("…", "dim")) if width > 0 else ()


def columns_for(columns: Sequence[TextColumn], width: int, wanted: int = 0) -> list[TextColumn]:
    """The columns that a page of `width` cells shows, the growing one stretched to fill it.

    `wanted`: cells that the growing one needs, so that no name is cut: columns that may leave make room for it.
    """
    shown = [column for column in columns if width >= column.at]
    leaving = sorted((column for column in shown if column.at), key=lambda column: column.at)
    wanted = min(wanted, width // 2)
    while leaving and _taken(shown, wanted) > width:
        shown.remove(leaving.pop())
    spare = width - _taken(shown, 0)
    if wanted:  # a figure far from its name is hard to read across
        spare = min(spare, max(wanted, _FAR) - max(column.width for column in shown if column.grows))
    # Behind the last column there is a gap, too, which a name may have where there is no other room.
    return [
        msgspec.structs.replace(
            column, width=max(column.width + max(0, spare), min(wanted, column.width + spare + _GAP))
        )
        if column.grows
        else column
        for column in shown
    ]


def _taken(columns: Sequence[TextColumn], wanted: int) -> int:
    return sum(max(column.width, wanted if column.grows else 0) + _GAP for column in columns)


def header(columns: Sequence[TextColumn], sorted_by: str | None = None) -> Line:
    """The titles of a table; the column it is sorted by is marked, a click on any sorts by it."""
    spans: list[TextSpan] = []
    for column in columns:
        by_this = sorted_by is not None and column.sorts == sorted_by
        style: Style = "accent" if by_this else column.style
        run = f"sort {column.sorts}" if column.sorts else None
        # The mark of a right-aligned title stands in the gap, so that no title loses its room to it.
        title, gap = column.title, "  "
        if by_this:
            title, gap = (title, "▾ ") if column.align == "right" else (f"{title} ▾", gap)
        spans += [*fit((TextSpan(title, style, run),), column.width, column.align), TextSpan(gap, style)]
    return Line(tuple(spans))


def row(columns: Sequence[TextColumn], cells: dict[str, Cell], key: str | None = None) -> Line:
    """A row of a table; a column without a cell stays empty."""
    spans: list[TextSpan] = []
    for column in columns:
        spans += [*fit(cells.get(column.key, ()), column.width, column.align), TextSpan("  ")]
    return Line(tuple(spans), key)


def folded(long: Line, width: int) -> list[Line]:
    """A line that is too long as several without styles; one that fits as it is."""
    return [long] if len(long.text) <= width else wrapped(long.text, width, " ")


def wrapped(text: str, width: int, indent: str = "", style: Style = "") -> list[Line]:
    """Break a sentence into lines of at most `width` cells, each begun with `indent`."""
    lines: list[str] = []
    current = indent
    for word in text.split():
        if len(current) > len(indent) and len(current) + 1 + len(word) > width:
            lines.append(current)
            current = indent
        current += word if current == indent else f" {word}"
    return [line(TextSpan(part, style)) for part in [*lines, current] if part.strip()]


def hanging(left: Cell, indent: int, text: str, width: int) -> list[Line]:
    """A text to the right of something, its further lines indented to where it begins."""
    rest = wrapped(text, width, " " * indent)
    gap = " " * max(0, indent - 2 - width_of(left))
    return [line(TextSpan("  "), *left, TextSpan(gap), rest[0].text[indent:]), *rest[1:]]
