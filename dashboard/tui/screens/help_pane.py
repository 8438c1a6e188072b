"""The help, made from the commands: what it says is what is bound; and what the words mean."""

from collections.abc import Sequence
from typing import ClassVar

from dashboard.tui.pages.command import Command
from dashboard.tui.pages.glossary_page import words_page
from dashboard.tui.pages.help_page import help_page
from dashboard.tui.pages.styled_lines import Page
from dashboard.tui.screens.pane import Pane
from dashboard.world import World


class WordsPane(Pane):
    """What the words mean."""

    PAGE: ClassVar[str] = "words"

    def __init__(self, about: str) -> None:
        self._about = about

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all panes
        return words_page(self._about, width)


class HelpPane(Pane):
    """What can be done on the page that it was called from."""

    PAGE: ClassVar[str] = "help"

    def __init__(self, commands: Sequence[Command], about: str) -> None:
        self._commands = commands
        self._about = about

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all panes
        return help_page(self._commands, self._about, width)


HELP_PAGES = (HelpPane.PAGE, WordsPane.PAGE)
"""Pages that the key for leaving closes."""
