"""A bar: one line, at the top or at the bottom."""

from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from dashboard.tui.pages.styled_lines import Line
from dashboard.tui.widgets.line_styles import CLASSES, PAINT_CSS, Painter, changed_regions


class Bar(Widget):
    """Shows one line; a click on a span runs that span's command."""

    COMPONENT_CLASSES = CLASSES
    DEFAULT_CSS = f"Bar {{ height: 1; width: 1fr; {PAINT_CSS} }}"

    class Run(Message):
        """A command was clicked."""

        def __init__(self, command: str) -> None:
            super().__init__()
            self.command = command

    def __init__(self, *, id: str) -> None:  # noqa: A002  # textual's name
        super().__init__(id=id)
        self._line = Line()
        self._painter = Painter(self)

    def show(self, line: Line) -> None:
        """Draw another line; where it is the same nothing is sent to the terminal."""
        regions: list[Region] = list(changed_regions(self._line, line, 0, self.size.width))
        self._line = line
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        """The one line there is."""
        return self._painter.strip(self._line if y == 0 else Line(), self.size.width)

    def on_click(self, event: events.Click) -> None:
        """Run what was clicked."""
        command = event.style.meta.get("run")
        if command:
            self.post_message(self.Run(str(command)))
