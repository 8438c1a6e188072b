"""The prompt at the bottom: for `:` commands and for `/` filters."""

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from whisper_ops.errors import UserError


class Prompt(ModalScreen[str | None]):
    """One line to type. It stays open, and says why, while `check` refuses what was typed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel", show=False)]

    CSS = """
    Prompt { align: left bottom; background: $background 0%; }
    Prompt Vertical { height: auto; background: $panel; }
    Prompt Horizontal { height: 1; }
    Prompt #sign { width: auto; color: $accent; text-style: bold; padding: 0 1; }
    Prompt Input { width: 1fr; border: none; height: 1; padding: 0; background: $panel; }
    Prompt Input:focus { border: none; background: $panel; background-tint: $foreground 0%; }
    Prompt #why { color: $error; height: auto; padding: 0 1; display: none; }
    Prompt #why.said { display: block; }
    """

    def __init__(
        self, sign: str, text: str, check: Callable[[str], object], *, hint: str, words: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self._early: list[events.Key] = []
        self._sign, self._text, self._check, self._hint, self._words = sign, text, check, hint, words

    def compose(self) -> ComposeResult:
        """A sentence when something is wrong, and the line to type on."""
        with Vertical():
            yield Static(id="why", markup=False)
            with Horizontal():
                yield Static(self._sign, id="sign", markup=False)
                suggester = SuggestFromList(self._words, case_sensitive=False) if self._words else None
                yield Input(self._text, placeholder=self._hint, suggester=suggester)

    def on_mount(self) -> None:
        """Ready to type; a blinking cursor would repaint the terminal for ever."""
        field = self.query_one(Input)
        field.cursor_blink = False
        field.focus()
        self._type(self._early)
        self._early = []

    def type_ahead(self, event: events.Key) -> None:
        """Take a key that was pressed before the line was there: who types fast loses no letter."""
        field = next(iter(self.query(Input)), None)
        if not event.is_printable and (event.key != "enter" or (field is not None and field.has_focus)):
            return
        if field is None or not field.is_mounted:
            self._early.append(event)
        else:
            self._type([event])

    def _type(self, keys: list[events.Key]) -> None:
        field = self.query_one(Input)
        for key in keys:
            if key.key == "enter":
                self.call_later(field.action_submit)
            elif key.character:
                field.insert_text_at_cursor(key.character)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Close with what was typed, if it can be understood."""
        try:
            self._check(event.value)
        except UserError as error:
            why = self.query_one("#why", Static)
            why.update(str(error))
            why.add_class("said")
            return
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        """Close and change nothing."""
        self.dismiss(None)
