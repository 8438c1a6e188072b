"""Lines of styled text: the vocabulary between pages and the terminal.

A style is a word for what something means (`ok`, `warn`, `bad`, `dim`…); a theme says which colour that is. Every line
is legible without any of them.
"""

from collections.abc import Iterable
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


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What a screen shows: `head` stays where it is, `body` scrolls under it."""

    crumbs: tuple[str, ...]
    head: tuple[Line, ...] = ()
    body: tuple[Line, ...] = ()

    @property
    def text(self) -> str:
        """The page as plain text, for tests and pipes."""
        return "\n".join(line.text.rstrip() for line in (*self.head, *self.body))


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
