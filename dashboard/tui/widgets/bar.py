"""A bar at the top or at the bottom: one line, or several where a sentence needs them."""

from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from dashboard.tui.pages.styled_lines import Line
from dashboard.tui.widgets.line_styles import CLASSES, PAINT_CSS, CommandClicked, Painter, changed_regions


class Bar(Widget):
    """Shows its lines; a click on a span runs that span's command."""

    COMPONENT_CLASSES = CLASSES
    DEFAULT_CSS = f"Bar {{ height: 1; width: 1fr; {PAINT_CSS} }}"

    def __init__(self, *, id: str) -> None:  # noqa: A002  # textual's name
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = (Line(),)
        self._painter = Painter(self)

    def show(self, *lines: Line) -> None:
        """Draw other lines; where they are the same nothing is sent to the terminal."""
        before, self._lines = self._lines, lines
        if len(before) != len(lines):
            self.styles.height = len(lines)
            self.refresh()
            return
        regions: list[Region] = []
        for y, (old, new) in enumerate(zip(before, lines, strict=True)):
            regions += changed_regions(old, new, y, self.size.width)
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        return self._painter.strip(self._lines[y] if y < len(self._lines) else Line(), self.size.width)

    def on_click(self, event: events.Click) -> None:
        """Run what was clicked."""
        command = event.style.meta.get("run")
        if command:
            self.post_message(CommandClicked(str(command)))
