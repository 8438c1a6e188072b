"""The question before anything is done to a server."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static


class ConfirmationScreen(ModalScreen[bool]):
    """Says what will happen; `y` does it, anything that means no does not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes", show=False),
        Binding("n,escape,q,enter", "answer(False)", "no", show=False),
    ]
    CSS = """
    ConfirmationScreen { align: center middle; background: $background 60%; }
    ConfirmationScreen Vertical { width: 64; max-width: 96%; height: auto; padding: 1 2; }
    ConfirmationScreen Vertical { border: round $warning; background: $panel; }
    ConfirmationScreen #keys { color: $accent; margin-top: 1; }
    ConfirmationScreen:ansi { background: ansi_default; }
    """

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question and the two keys."""
        with Vertical():
            yield Static(self._question, markup=False)
            yield Static("y yes, do it     n no (also esc and enter)", id="keys", markup=False)

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)
