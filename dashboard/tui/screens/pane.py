"""A pane: what fills the terminal between the title and the footer. One is on top, those it was reached from are below.

All panes share one textual screen and its three widgets. A screen of its own for each page was composed, styled and
laid out at every key that led there, over some forty turns of the event loop: with a hundred servers being polled in
between, the key took 100 ms to be seen.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol

from dashboard.chart_data import ChartData
from dashboard.tui.pages.styled_lines import Page
from dashboard.tui.widgets.sheet import Sheet
from dashboard.world import World


class Place(NamedTuple):
    """Where somebody was on a page when another one was opened over it."""

    cursor: str | None = None
    top: int = 0


class Stage(Protocol):
    """What panes need of the screen that shows them."""

    world: World

    @property
    def sheet(self) -> Sheet:
        """The page's widget."""

    @property
    def width(self) -> int:
        """Cells in a line of the page."""

    def redraw(self) -> None:
        """Format the page of the pane on top again."""

    def read_beside(self, read: Callable[[], ChartData], then: Callable[[ChartData], None]) -> object:
        """Read charts on a thread, and take them on the event loop."""


class Pane(ABC):
    """One page of the world, and the commands that are its own: each `do_NAME` is a command of the registry."""

    PAGE: ClassVar[str] = ""
    """The name by which commands know it."""

    stage: Stage
    """The screen that shows it, from when it is opened on."""
    place = Place()
    """Where it was left, when another pane lies over it."""

    @abstractmethod
    def page(self, world: World, width: int, height: int) -> Page:
        """The page for a sheet of that size."""

    def drawn(self) -> None:  # noqa: B027  # most panes need nothing more
        """Called after each redraw: a pane that needs more than the world asks for it here."""
