"""What all screens share: a title bar, a sheet, a footer, and one reactive world that is only ever replaced."""

from abc import abstractmethod
from typing import ClassVar

from textual.app import ComposeResult
from textual.reactive import reactive
from textual.screen import Screen

from dashboard.view.frame import footer_line, title_line
from dashboard.view.lines import Page
from dashboard.view.world import World
from dashboard.widgets.bar import Bar
from dashboard.widgets.sheet import Sheet
from dashboard.widgets.tight import TightCompositor


class PageScreen(Screen[None]):
    """A screen that shows one page of the world."""

    PAGE: ClassVar[str] = ""
    """The name by which commands know it."""

    world: reactive[World] = reactive(World(now=0.0), init=False, repaint=False)
    message: reactive[str] = reactive("", init=False, repaint=False)

    def __init__(self) -> None:
        super().__init__()
        self._compositor = TightCompositor()

    def compose(self) -> ComposeResult:
        """Title, page, footer."""
        yield Bar(id="title")
        yield Sheet()
        yield Bar(id="footer")

    @abstractmethod
    def page(self, world: World, width: int, height: int) -> Page:
        """The page for a sheet of that size."""

    @property
    def composed(self) -> bool:
        """Whether its widgets are there; a tick of the clock may come before them, or after they are gone."""
        return bool(self.query(Sheet)) and len(self.query(Bar)) == 2

    @property
    def sheet(self) -> Sheet:
        """The page's widget."""
        return self.query_one(Sheet)

    def watch_world(self) -> None:
        """Another moment: format it, and let the widgets find what changed."""
        self.redraw()

    def watch_message(self) -> None:
        """Something to tell takes the place of the footer for a while."""
        self._draw_footer()

    def on_resize(self) -> None:
        """Pages are made for a width."""
        self.call_after_refresh(self.redraw)

    def on_screen_resume(self) -> None:
        """Back on top: show the present."""
        if self.composed:
            self.sheet.focus()
            self.redraw()

    def redraw(self) -> None:
        """Format the page again from the world there is."""
        width, height = self.app.size
        if not self.composed or width == 0:
            return
        # One column is the scroll bar's, whether it shows or not, so that lines do not jump when it appears.
        page = self.page(self.world, width - 1, height - 2)
        self.query_one("#title", Bar).show(title_line(self.world, page.crumbs, width))
        self.sheet.show(page)
        self._draw_footer()

    def _draw_footer(self) -> None:
        if self.composed:
            replaying = self.world.mode == "replay"
            line = footer_line(self.PAGE, self.app.size.width, self.message, replaying=replaying)
            self.query_one("#footer", Bar).show(line)
