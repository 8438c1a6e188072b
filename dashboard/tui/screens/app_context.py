"""What commands may use and do."""

from collections.abc import Callable
from pathlib import Path

from textual.app import App

from dashboard.admin_client import Admin
from dashboard.background_command import BackgroundCommand
from dashboard.replay.feed import Feed
from dashboard.replay.replay_feed import ReplayFeed
from dashboard.tui.pages.command import Command, command_named
from dashboard.tui.screens.chart_pane import ChartedPane, ChartView
from dashboard.tui.screens.confirmation import ConfirmationScreen
from dashboard.tui.screens.fleet_pane import FleetPane
from dashboard.tui.screens.main_screen import PageScreen
from dashboard.tui.screens.prompt_question import PromptQuestion
from dashboard.tui.screens.shown_feed import ShownFeed
from whisper_ops.errors import UserError
from whisper_ops.formatting import plural_of


class AppContext:
    """The parts of the running dashboard that commands work with. A command is a function of it and of an argument."""

    def __init__(
        self,
        app: App[None],
        feeds: ShownFeed,
        fleet: FleetPane,
        chart_view: ChartView,
        *,
        history: Path | None = None,
        admin: Admin | None = None,
    ) -> None:
        """`admin`: None where nothing may be done to servers."""
        self.app = app
        """For textual's own services: workers, clipboard, theme, exit."""
        self.feeds = feeds
        self.fleet = fleet
        self.chart_view = chart_view
        self.history = history
        self.admin = admin
        self.background: BackgroundCommand | None = None
        """The sweep, check or plan that runs, or ran last."""
        self.left = False
        """Whether the user chose to leave, rather than a signal."""

    @property
    def screen(self) -> PageScreen:
        """The screen with the panes; a question may lie over it."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, PageScreen)
        return screen

    def draw(self) -> None:
        """Show the world of this moment, also where a question lies over the page."""
        self.screen.show(self.feeds.world())

    def tell(self, sentence: str) -> None:
        """Show a sentence in place of the footer for some seconds."""
        self.screen.footer.tell(sentence)

    def ask(self, question: PromptQuestion) -> None:
        """Ask for a line of text; a mistake that shows only when its answer is used is told."""
        self.screen.prompt.ask(question._replace(then=lambda answer: self._try(lambda: question.then(answer))))

    def confirm(self, question: str, then: Callable[[], object]) -> None:
        """Ask, and go on when the answer is yes."""

        def answered(yes: bool | None) -> None:
            if yes:
                then()

        self.app.push_screen(ConfirmationScreen(question), answered)

    def run_line(self, text: str) -> None:
        """Run what was typed behind `:` or clicked: a name, or the beginning of one, and its argument."""
        name, _, argument = text.strip().removeprefix(":").strip().partition(" ")
        if not name:
            return
        command = command_named(self.screen.commands, name)
        if command is None:
            self.tell(f"there is no command {name!r}; ? shows them all")
        else:
            self.run(command, argument.strip())

    def run(self, command: Command, argument: str = "") -> None:
        """Run a command where it works; a user's mistake is told, not raised."""
        if not command.works_on(self.screen.pane.PAGE):
            where = " and the ".join(command.pages)
            self.tell(f"{command.name} works on the {where} {plural_of(len(command.pages), 'page')}")
            return
        self._try(lambda: command.run(self, argument))

    def show_feed(self, feed: Feed) -> None:
        """Show another feed on the panes that are open."""
        self.feeds.show(feed)
        self.chart_view.cursor = None
        for pane in self.screen.panes:
            if isinstance(pane, ChartedPane):
                pane.read_from(feed.charts)
        self.draw()

    def refresh_feed(self) -> None:
        """Read plans, events, alerts and what a replay needs, on a thread."""
        self.app.run_worker(self._read_feed, thread=True, group="refresh", exclusive=True, exit_on_error=False)

    def tell_jump(self, replay: ReplayFeed) -> None:
        """From a thread: say where a replay went, if that is not the moment that was asked for."""
        news = replay.take_notice()
        if news is not None:
            self.app.call_from_thread(self.tell, news)

    def _read_feed(self) -> None:
        feed = self.feeds.shown
        while feed.refresh():
            self.app.call_from_thread(self.draw)
        if isinstance(feed, ReplayFeed):
            self.app.call_from_thread(self.draw)
            self.tell_jump(feed)

    def _try(self, use: Callable[[], object]) -> None:
        try:
            use()
        except UserError as error:
            self.tell(str(error))
