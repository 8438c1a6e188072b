"""The prompt at the bottom: for `:` commands, for `/` filters and for moments of the past."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

from dashboard.tui.screens.prompt_question import PromptQuestion
from dashboard.tui.widgets.sheet import Sheet
from whisper_ops.errors import UserError


class Prompt(Vertical):
    """One line to type, hidden until something is asked. It stays, and says why, while an answer is refused."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "cancel", show=False)]

    DEFAULT_CSS = """
    Prompt { layer: prompt; dock: bottom; height: auto; background: $panel; display: none; }
    Prompt Horizontal { height: 1; }
    Prompt #sign { width: auto; color: $accent; text-style: bold; padding: 0 1; }
    Prompt Input { width: 1fr; border: none; height: 1; padding: 0; background: $panel; }
    Prompt Input:focus { border: none; background: $panel; background-tint: $foreground 0%; }
    Prompt #why { color: $error; height: auto; padding: 0 1; display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._question = PromptQuestion("", str)

    def compose(self) -> ComposeResult:
        """A sentence when something is wrong, and the line to type on."""
        yield Static(id="why", markup=False)
        with Horizontal():
            yield Static(id="sign", markup=False)
            field = Input(compact=True)
            # A blinking cursor would repaint the terminal for ever.
            field.cursor_blink = False
            yield field

    @property
    def asking(self) -> bool:
        """Whether something is asked."""
        return self.display

    def ask(self, question: PromptQuestion) -> None:
        """Ask it; an answer that cannot be understood is refused, and goes no further."""
        self._question = question
        field = self._field
        self.query_one("#sign", Static).update(question.sign)
        self.query_one("#why", Static).display = False
        field.placeholder = question.hint
        field.suggester = SuggestFromList(question.words, case_sensitive=False) if question.words else None
        field.value = question.text
        field.cursor_position = len(question.text)
        self.display = True
        # At once, not after the next refresh: the letters that are typed next are meant for it.
        self.screen.set_focus(field)

    def action_cancel(self) -> None:
        """Close and change nothing."""
        self.display = False
        self.screen.set_focus(self.screen.query_one(Sheet))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Close and go on with what was typed, if it can be understood."""
        event.stop()
        try:
            self._question.check(event.value)
        except UserError as error:
            why = self.query_one("#why", Static)
            why.update(str(error))
            why.display = True
            return
        self.action_cancel()
        self._question.then(event.value)

    def on_descendant_blur(self, _: events.DescendantBlur) -> None:
        """Who clicks elsewhere has changed their mind; a terminal that is left for a moment is no click."""
        if self.asking and self.app.app_focus and self.screen.focused is not self._field:
            self.display = False

    @property
    def _field(self) -> Input:
        return self.query_one(Input)
