"""The one screen: a title bar, a sheet, a footer, a prompt, and the panes that are shown on them."""

from collections.abc import Callable

from textual import work
from textual.app import ComposeResult
from textual.reactive import reactive
from textual.screen import Screen

from dashboard.chart_data import ChartData
from dashboard.tui.pages.frame import caption_line, footer_line, title_line
from dashboard.tui.screens.pane import Pane, Place
from dashboard.tui.screens.prompt import Prompt
from dashboard.tui.widgets.bar import Bar
from dashboard.tui.widgets.minimal_updates import TightCompositor
from dashboard.tui.widgets.sheet import Sheet
from dashboard.world import World


class PageScreen(Screen[None]):
    """Shows the page of the pane on top, for a world that is only ever replaced."""

    CSS = "PageScreen { layers: page prompt; }"

    world: reactive[World] = reactive(World(now=0.0), init=False, repaint=False)
    message: reactive[str] = reactive("", init=False, repaint=False)
    caption: reactive[str] = reactive("", init=False, repaint=False)

    def __init__(self, first: Pane) -> None:
        super().__init__()
        self._compositor = TightCompositor()
        self.panes = [first]
        """The pane that everything begins with, and those opened over it."""
        first.stage = self

    def compose(self) -> ComposeResult:
        """Title, caption, page, footer; the prompt lies over the footer when something is asked."""
        yield Bar(id="title")
        caption = Bar(id="caption")
        caption.display = False
        yield caption
        yield Sheet()
        yield Bar(id="footer")
        yield Prompt()

    @property
    def pane(self) -> Pane:
        """The pane on top."""
        return self.panes[-1]

    @property
    def composed(self) -> bool:
        """Whether its widgets are there; a tick of the clock may come before them, or after they are gone."""
        return bool(self.query(Sheet)) and len(self.query(Bar)) == 3

    @property
    def sheet(self) -> Sheet:
        """The page's widget."""
        return self.query_one(Sheet)

    @property
    def prompt(self) -> Prompt:
        """The line to type on."""
        return self.query_one(Prompt)

    @property
    def width(self) -> int:
        """Cells in a line of the page: one column is the scroll bar's, whether it shows or not."""
        return self.app.size.width - 1

    def open(self, pane: Pane) -> None:
        """Show another pane over the one on top, which stays as it is; in the place of one of its own kind."""
        if type(pane) is type(self.pane):
            self.panes.pop()
        else:
            self.pane.place = Place(self.sheet.cursor, self.sheet.scroll_offset.y)
        pane.stage = self
        self.panes.append(pane)
        self._change()

    def back(self, to: int | None = None) -> None:
        """Back to the pane below, or to the one of that number; the first always stays."""
        keep = max(1, len(self.panes) - 1 if to is None else to + 1)
        if keep < len(self.panes):
            del self.panes[keep:]
            self._change()

    def close_help(self) -> bool:
        """Close the help, or its words, if that is what lies on top; whether it was."""
        if self.pane.PAGE not in ("help", "words"):
            return False
        self.back()
        return True

    def watch_world(self) -> None:
        """Another moment: format it, and let the widgets find what changed."""
        self.redraw()

    def watch_message(self) -> None:
        """Something to tell takes the place of the footer for a while."""
        self._draw_footer()

    def watch_caption(self, before: str, now: str) -> None:
        """Somebody says what is going on, or says no more."""
        if not self.composed:
            return
        bar = self.query_one("#caption", Bar)
        bar.show(caption_line(now, self.app.size.width))
        if bool(before) != bool(now):
            bar.display = bool(now)
            self.call_after_refresh(self.redraw)

    def on_resize(self) -> None:
        """Pages are made for a width."""
        self.call_after_refresh(self.redraw)

    def on_screen_resume(self) -> None:
        """A question that lay over it was answered."""
        if self.composed:
            self.sheet.focus()
            self.redraw()

    def redraw(self) -> None:
        """Format the page again from the world there is."""
        width, height = self.app.size
        if not self.composed or width == 0:
            return
        page = self.pane.page(self.world, self.width, height - 2 - bool(self.caption))
        self.query_one("#title", Bar).show(title_line(self.world, page.crumbs, width))
        self.sheet.show(page)
        self._draw_footer()
        self.pane.drawn()

    @work(thread=True, group="charts", exit_on_error=False)
    def read_beside(self, read: Callable[[], ChartData], then: Callable[[ChartData], None]) -> None:
        """See `Stage`."""
        self.app.call_from_thread(then, read())

    def _change(self) -> None:
        """Another pane is on top now."""
        self.message = ""
        self.sheet.turn(*self.pane.place)
        self.redraw()

    def _draw_footer(self) -> None:
        if self.composed:
            replaying = self.world.mode == "replay"
            line = footer_line(self.pane.PAGE, self.app.size.width, self.message, replaying=replaying)
            self.query_one("#footer", Bar).show(line)
