"""A pane: what fills the terminal between the title and the footer. One is on top, those it was reached from are below.

All panes share one textual screen and its widgets. A screen of its own for each page was composed, styled and laid out
at every key that led there, over some forty turns of the event loop: with a hundred servers being polled in between,
the key took 100 ms to be seen.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from dashboard.tui.pages.styled_lines import Page
from dashboard.world import World


class Place(NamedTuple):
    """Where the user was on a page when another one was opened over it."""

    cursor: str | None = None
    top: int = 0


class Pane(ABC):
    """One page of the world. It knows no widget, and no command: commands change panes, the screen draws them."""

    PAGE: ClassVar[str] = ""
    """The name by which commands know it."""

    server: str | None = None
    """The server that it is about."""
    place = Place()
    """Where it was left, when another pane lies over it."""

    @abstractmethod
    def page(self, world: World, width: int, height: int) -> Page:
        """The page for a sheet of that size, in cells."""

    def back(self) -> bool:
        """Undo something of its own, such as a filter; False where there is nothing, and the pane itself is to go."""
        return False
