"""The commands of the cursor: up and down, far and near, and copying what it is on."""

from typing import Protocol

from dashboard.tui.screens.main_screen import PageScreen
from whisper_ops.errors import UserError

_FAR = 1_000_000


class Mover(Protocol):
    """What these commands need of the app."""

    def page_screen(self) -> PageScreen:
        """The screen on top."""

    def tell(self, sentence: str) -> None:
        """Say something in the footer."""

    def copy_to_clipboard(self, text: str) -> None:
        """Copy, as far as the terminal lets us."""


class Moves:
    """Each `do_NAME` is a command of the registry."""

    def __init__(self, mover: Mover) -> None:
        self._mover = mover

    def do_down(self, _: str) -> None:
        """Cursor down."""
        self._mover.page_screen().sheet.move(1)

    def do_up(self, _: str) -> None:
        """Cursor up."""
        self._mover.page_screen().sheet.move(-1)

    def do_ahead(self, _: str) -> None:
        """A screenful down."""
        self._mover.page_screen().sheet.move(self._mover.page_screen().sheet.page_rows())

    def do_behind(self, _: str) -> None:
        """A screenful up."""
        self._mover.page_screen().sheet.move(-self._mover.page_screen().sheet.page_rows())

    def do_top(self, _: str) -> None:
        """To the first row."""
        self._mover.page_screen().sheet.move(-_FAR)

    def do_bottom(self, _: str) -> None:
        """To the last row."""
        self._mover.page_screen().sheet.move(_FAR)

    def do_copy(self, _: str) -> None:
        """Copy the row under the cursor, as far as the terminal lets us."""
        line = self._mover.page_screen().sheet.cursor_line
        if line is None:
            raise UserError("there is no row here to copy")
        text = "  ".join(line.text.split())
        self._mover.copy_to_clipboard(text)
        self._mover.tell(f"copied: {text}")
