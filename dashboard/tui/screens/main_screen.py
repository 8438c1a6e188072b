"""The one screen: a title bar, a sheet, a footer, a prompt, and the panes that are shown on them."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.screen import Screen

from dashboard.chart_data import ChartData
from dashboard.tui.pages.command import Command
from dashboard.tui.pages.frame import caption_line, footer_line, title_line
from dashboard.tui.screens.chart_pane import ChartedPane
from dashboard.tui.screens.pane import Pane, Place
from dashboard.tui.screens.prompt import Prompt
from dashboard.tui.widgets.bar import Bar
from dashboard.tui.widgets.footer import Footer
from dashboard.tui.widgets.minimal_updates import TightCompositor
from dashboard.tui.widgets.sheet import Sheet
from dashboard.world import World


class PageScreen(Screen[None]):
    """Shows the page of the pane on top, for a world that is only ever replaced."""

    CSS = "PageScreen { layers: page prompt; }"

    def __init__(self, commands: Sequence[Command], first: Pane, world: World) -> None:
        super().__init__()
        self._compositor = TightCompositor()
        self.commands = commands
        self.panes = [first]
        """The pane that everything begins with, and those opened over it."""
        self.world = world
        self.sheet, self.footer, self.prompt = Sheet(), Footer(), Prompt()
        self._title, self._caption_bar = Bar(id="title"), Bar(id="caption")
        self._caption = ""

    def compose(self) -> ComposeResult:
        """The prompt lies over the footer when something is asked."""
        self._caption_bar.display = False
        yield from (self._title, self._caption_bar, self.sheet, self.footer, self.prompt)

    @property
    def pane(self) -> Pane:
        """The pane on top."""
        return self.panes[-1]

    @property
    def composed(self) -> bool:
        """Whether its widgets are there; a tick of the clock may come before them, or after they are gone."""
        return len(self.query("Sheet, Bar")) == 4

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
        self.panes.append(pane)
        self._turn()

    def back(self, to: int | None = None) -> None:
        """Back to the pane below, or to the one of that number; the first always stays."""
        keep = max(1, len(self.panes) - 1 if to is None else to + 1)
        if keep < len(self.panes):
            del self.panes[keep:]
            self._turn()

    def show(self, world: World) -> None:
        """Another moment: format it, and let the widgets find what changed."""
        self.world = world
        self.redraw()

    def set_caption(self, text: str) -> None:
        """What another program says of the moment, in a line under the title; an empty one hides it."""
        if text == self._caption or not self.composed:
            return
        turned = bool(text) != bool(self._caption)
        self._caption = text
        self._caption_bar.show(caption_line(text, self.app.size.width))
        if turned:
            self._caption_bar.display = bool(text)
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
        page = self.pane.page(self.world, self.width, height - 2 - bool(self._caption))
        self._title.show(title_line(self.world, page.crumbs, width))
        self.sheet.show(page)
        replaying = self.world.mode == "replay"
        self.footer.show_keys(footer_line(self.commands, self.pane.PAGE, width, replaying=replaying))
        if isinstance(self.pane, ChartedPane):
            self._read_charts(self.pane)

    def _read_charts(self, pane: ChartedPane) -> None:
        read = pane.charts_to_read(self.world, self.width)
        if read is None:
            return

        def take(data: ChartData) -> None:
            pane.take_charts(data)
            self.redraw()

        def work() -> None:
            self.app.call_from_thread(take, read())

        self.run_worker(work, thread=True, group="charts", exit_on_error=False)

    def _turn(self) -> None:
        """Another pane is on top now."""
        self.footer.tell("")
        self.sheet.turn(*self.pane.place)
        self.redraw()
