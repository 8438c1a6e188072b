"""The footer: the keys that work here, or for some seconds a message in their place."""

from textual.timer import Timer

from dashboard.tui.pages.frame import message_lines
from dashboard.tui.pages.styled_lines import Line
from dashboard.tui.widgets.bar import Bar

_MESSAGE_SECONDS = 6.0


class Footer(Bar):
    """A bar that can be told a sentence. One too long for a line takes more of them, at the cost of the page's last."""

    def __init__(self) -> None:
        super().__init__(id="footer")
        self._keys = Line()
        self._message = ""
        self._timer: Timer | None = None

    def show_keys(self, keys: Line) -> None:
        """Show these keys, now or when the message is over."""
        self._keys = keys
        self._draw()

    def tell(self, sentence: str) -> None:
        """Show a sentence for some seconds; an empty one ends what is shown."""
        self._message = sentence
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_MESSAGE_SECONDS, lambda: self.tell("")) if sentence else None
        self._draw()

    def _draw(self) -> None:
        self.show(*(message_lines(self._message, self.app.size.width) if self._message else (self._keys,)))
