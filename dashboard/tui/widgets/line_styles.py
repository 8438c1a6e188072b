"""Lines of meaning to strips of colour: the styles of `pages.styled_lines` are CSS component classes here."""

from collections.abc import Iterator

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from dashboard.tui.pages.styled_lines import STYLES, Line, TextSpan
from whisper_ops.untrusted_text import one_line

CLASSES = {f"paint--{style or 'plain'}" for style in STYLES} | {"paint--cursor"}

PAINT_CSS = """
.paint--plain { color: $foreground; }
.paint--dim { color: $dim; }
.paint--label { color: $dim; }
.paint--title { color: $foreground; text-style: bold; }
.paint--ok { color: $success; }
.paint--note { color: $primary; }
.paint--warn { color: $warning; text-style: bold; }
.paint--bad { color: $error; text-style: bold; }
.paint--accent { color: $accent; text-style: bold; }
.paint--fill { color: $primary; }
.paint--rest { color: $faint; }
.paint--mark { color: $foreground; text-style: bold; }
.paint--key { color: $accent; text-style: bold; }
.paint--cursor { background: $row; }
&:ansi .paint--cursor { text-style: reverse; }
"""
"""The look of each style, for the CSS of a widget that paints."""


_NEAR = 6
"""Cells between two changes that are sent along: to move the cursor and set colours again takes more bytes."""


class CommandClicked(Message):
    """A span that runs a command was clicked; `line` is what would be typed behind `:`."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line


class Painter:
    """Draws lines in the colours of one widget, which has `CLASSES` and `PAINT_CSS`."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget

    def strip(self, line: Line, width: int, *, cursor: bool = False) -> Strip:
        """A strip of exactly `width` cells."""
        # The widget's own style is put together from all its ancestors: once a line, not once a span.
        base = self._widget.rich_style
        segments = [
            Segment(one_line(span.text), self._style(base, span, cursor=cursor)) for span in line.spans if span.text
        ]
        return Strip(segments).adjust_cell_length(width, self._style(base, TextSpan(""), cursor=cursor)).simplify()

    def _style(self, base: RichStyle, span: TextSpan, *, cursor: bool) -> RichStyle:
        component = self._widget.get_component_rich_style
        style = base + component(f"paint--{span.style or 'plain'}", partial=True)
        if cursor:
            style += component("paint--cursor", partial=True)
        return style + RichStyle(meta={"run": span.run}) if span.run else style


def changed_regions(before: Line, after: Line, y: int, width: int) -> Iterator[Region]:
    """Where two lines differ, as regions of row `y`: what has to be sent to the terminal again, and no more."""
    if before == after:
        return
    if [len(span.text) for span in before.spans] != [len(span.text) for span in after.spans]:
        yield Region(0, y, width, 1)
        return
    if before.key != after.key:
        yield Region(0, y, width, 1)
        return
    x, begin, end = 0, 0, 0
    for old, new in zip(before.spans, after.spans, strict=True):
        if old != new and new.text:
            if end and x - end > _NEAR:
                yield Region(begin, y, end - begin, 1)
                begin = x
            begin, end = (begin if end else x), x + len(new.text)
        x += len(new.text)
    if end:
        yield Region(begin, y, end - begin, 1)
