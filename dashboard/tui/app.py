"""The dashboard: it draws the feed's world at most twice a second, and turns keys, words and clicks into commands."""

import asyncio
import contextlib
import os
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from dashboard.admin_client import Admin
from dashboard.background_command import BackgroundCommand
from dashboard.replay.feed import Feed, LiveFeed
from dashboard.replay.replay_feed import ReplayFeed
from dashboard.tui.pages.filters import parse
from dashboard.tui.pages.keymap import COMMANDS, Command, named
from dashboard.tui.saved_state import SavedState
from dashboard.tui.screens.chart_pane import ChartedPane, ChartView
from dashboard.tui.screens.confirmation import Confirm
from dashboard.tui.screens.cursor import Moves
from dashboard.tui.screens.fleet_pane import FleetPane
from dashboard.tui.screens.main_screen import PageScreen
from dashboard.tui.screens.navigation import Ways
from dashboard.tui.screens.palette import CommandProvider
from dashboard.tui.screens.pane import Pane
from dashboard.tui.screens.prompt import PromptQuestion
from dashboard.tui.screens.replay_commands import Past
from dashboard.tui.screens.server_commands import Actions
from dashboard.tui.widgets import themes
from dashboard.tui.widgets.bar import Bar
from dashboard.tui.widgets.sheet import Sheet
from dashboard.tui.widgets.terminal_driver import QuickDriver
from dashboard.world import World
from whisper_ops.errors import UserError
from whisper_ops.formatting import plural_of

REPAINT_SECONDS = 0.5
_REFRESH_SECONDS = 5.0
_MESSAGE_SECONDS = 6.0
INTERVALS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

_BINDINGS: list[BindingType] = [
    # With priority a key is acted on where it arrives, instead of after a turn of each widget's own queue; and what is
    # typed behind `:` finds the prompt open.
    Binding(",".join(command.keys), f"command('{command.name}')", command.help, show=False, priority=True)
    for command in COMMANDS
    if command.keys
]


class DashApp(App[None]):
    """The full-screen dashboard over a feed of worlds."""

    TITLE = "whisper-ops"
    NOTIFICATION_TIMEOUT = 6.0
    COMMANDS: ClassVar[set[Any]] = {CommandProvider}
    COMMAND_PALETTE_BINDING = ""
    CSS = """
    Screen { background: $background; color: $foreground; }
    #title, #caption { background: $panel; }
    #footer { background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = _BINDINGS

    def __init__(
        self,
        feed: Feed,
        *,
        state: SavedState | None = None,
        history: Path | None = None,
        admin: Admin | None = None,
        caption: Callable[[], str] = str,
        opening: str | None = None,
    ) -> None:
        """`caption` says what is going on; nothing, where nobody does. `opening`: a sentence told at the start."""
        plain = "NO_COLOR" in os.environ
        # Without colours the terminal's own are used, so that not one colour code is sent.
        super().__init__(ansi_color=True if plain else None)
        self.feed = feed
        """What is shown: the present, or a replay."""
        self.present = feed
        self.history = history
        self.left: SavedState | None = None
        """How it was looked at when somebody left; None before, and after a signal."""
        self.faults: list[str] = []
        """What went wrong in this program itself, each sentence once."""
        self._opening = opening
        self.admin = admin
        """None where nothing may be done to servers."""
        self._caption = caption
        state = state or SavedState()
        self._view = state.view
        self.looking = ChartView(state.span)
        self._past, self._ways = Past(self), Ways(self)
        self._others = (self._past, Actions(self), Moves(self), self._ways)
        """Where commands are found that are neither the screen's nor here."""
        self._paused: World | None = None
        self._message_timer: Timer | None = None
        for look in themes.THEMES:
            self.register_theme(look)
        self.theme = themes.PLAIN if plain else (state.theme if state.theme in themes.NAMES else themes.DEFAULT)

    @property
    def state(self) -> SavedState:
        """How it is looked at now, to be found again like this."""
        view = self._fleet().view
        theme = None if self.theme == themes.PLAIN and self.no_color else self.theme
        return SavedState(theme=theme, sort=view.sort, filter=view.filter, expand=view.expand, span=self.looking.span)

    def get_driver_class(self) -> type[Driver]:
        """On a Unix terminal, the driver that feels `esc` at once."""
        found = super().get_driver_class()
        return QuickDriver if found is LinuxDriver else found

    def get_default_screen(self) -> PageScreen:
        """The fleet is where everything begins."""
        screen = PageScreen(FleetPane(self._view))
        screen.set_reactive(PageScreen.world, self.feed.world())
        return screen

    def on_mount(self) -> None:
        """Start polling and drawing."""
        self._stop_on_signal()
        if isinstance(self.present, LiveFeed):
            # A task a server, in a group of the fleet's own: replicas come and go, and none waits for another.
            self.run_worker(self.present.run(), group="polling", exclusive=True)
        self.set_interval(REPAINT_SECONDS, self.draw)
        self.set_interval(_REFRESH_SECONDS, self.refresh_feed)
        self.refresh_feed()
        self.call_after_refresh(self.draw)
        if self._opening is not None:
            self.call_after_refresh(self.tell, self._opening)

    def draw(self) -> None:
        """Give the page the world of this moment, also where a question lies over it."""
        screen = self.page_screen()
        screen.caption = self._caption()
        screen.world = self._paused or self.feed.world()

    @work(thread=True, group="refresh", exclusive=True, exit_on_error=False)
    def refresh_feed(self) -> None:
        """Read plans, events, alerts and what a replay needs, beside the event loop."""
        feed = self.feed
        while feed.refresh():
            self.call_from_thread(self.draw)
        if isinstance(feed, ReplayFeed):
            self.call_from_thread(self.draw)
            self._tell_news(feed)

    @work(thread=True, group="replay", exclusive=True, exit_on_error=False)
    def open_replay(self, path: Path, at: float) -> None:
        """Read a moment of the past beside the event loop, and show it when it is there."""
        try:
            past = ReplayFeed(path, at, rules=self.present.rules if isinstance(self.present, LiveFeed) else None)
        except UserError as error:
            self.call_from_thread(self.tell, str(error))
            return
        self.call_from_thread(self.show, past)
        self._tell_news(past)

    def _tell_news(self, past: ReplayFeed) -> None:
        """From a thread: what a jump came to, where that is not the moment that was asked for."""
        news = past.take_news()
        if news is not None:
            self.call_from_thread(self.tell, news)

    # --- commands ------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys belong to a question, and to a line that is typed, while there is one; but ctrl+c ends everything."""
        if action != "command":
            return super().check_action(action, parameters)
        screen = self.screen
        return isinstance(screen, PageScreen) and (parameters == ("leave",) or not screen.prompt.asking)

    def action_command(self, name: str, argument: str = "") -> None:
        """Run a command of the registry; the pane on top has the first word. A user's mistake is told, not raised."""
        if not isinstance(self.screen, PageScreen):
            return
        method = f"do_{name}"
        handlers = (getattr(place, method, None) for place in (self.screen.pane, self, *self._others))
        handler: Callable[[str], Any] | None = next((found for found in handlers if found is not None), None)
        if handler is None:
            command = named(name)
            where = " and the ".join(command.pages) if command else ""
            self.tell(f"{name} works on the {where} {plural_of(len(command.pages) if command else 1, 'page')}")
            return
        try:
            handler(argument)
        except UserError as error:
            self.tell(str(error))

    def run_line(self, text: str) -> None:
        """Run what was typed behind `:`."""
        name, _, argument = text.strip().partition(" ")
        if name:
            self.action_command(_command_of(text).name, argument.strip())

    def show(self, feed: Feed) -> None:
        """Show another feed on the screens that are open."""
        self.feed = feed
        self._paused = None
        self.looking.cursor = None
        for pane in self.page_screen().panes:
            if isinstance(pane, ChartedPane):
                pane.ask_elsewhere(feed.charts)
        self.draw()

    def tell(self, sentence: str) -> None:
        """Show a sentence in the footer for some seconds."""
        screen = self.page_screen()
        screen.message = sentence
        if self._message_timer is not None:
            self._message_timer.stop()
        self._message_timer = self.set_timer(_MESSAGE_SECONDS, lambda: setattr(screen, "message", ""))

    def on_bar_run(self, message: Bar.Run) -> None:
        """A command was clicked in the title or the footer."""
        self.run_line(message.command)

    def on_sheet_run(self, message: Sheet.Run) -> None:
        """A command was clicked in the page."""
        self.run_line(message.command)

    def on_sheet_opened(self, message: Sheet.Opened) -> None:
        """A row was clicked twice."""
        if isinstance(self.screen, PageScreen):
            self._ways.open_key(message.key)

    def do_quit(self, _: str) -> None:
        """Close the help where it lies on top, else leave."""
        if not self.page_screen().close_help():
            self.do_leave("")

    def do_leave(self, _: str) -> None:
        """Leave."""
        self.left = self.state
        self.exit()

    def do_command(self, _: str) -> None:
        """Ask for a command."""
        page = self.page_screen().pane.PAGE
        words = tuple(command.name for command in COMMANDS if command.works_on(page))
        self.ask(PromptQuestion(":", _command_of, self.run_line, hint="a command, as in sort lag", words=words))

    def do_filter(self, text: str) -> None:
        """Ask for a filter, or set the one that was given behind `:filter`."""
        fleet = self._fleet()
        if text:
            fleet.set_filter(text)
            return
        self.ask(PromptQuestion("/", parse, fleet.set_filter, hint="lag>1 & gpu~h100", text=fleet.view.filter))

    def do_back(self, _: str) -> None:
        """Back to what was looked at before."""
        self.page_screen().back()

    def do_fleet(self, _: str) -> None:
        """Back to the fleet."""
        self.page_screen().back(to=0)

    def do_faster(self, _: str) -> None:
        """Poll more often, or replay faster."""
        if isinstance(self.feed, ReplayFeed):
            self._past.play(1)
            return
        self._poll_every(max((each for each in INTERVALS if each < self._live().interval), default=INTERVALS[0]))

    def do_slower(self, _: str) -> None:
        """Poll less often, or replay slower."""
        if isinstance(self.feed, ReplayFeed):
            self._past.play(-1)
            return
        self._poll_every(min((each for each in INTERVALS if each > self._live().interval), default=INTERVALS[-1]))

    def do_picture(self, name: str) -> None:
        """Save the screen as SVG in the working directory."""
        path = Path(name or f"whisper-ops-{time.strftime('%Y%m%d-%H%M%S')}.svg")
        try:
            path.write_text(self.export_screenshot(), "utf-8")
        except OSError as error:
            raise UserError(f"cannot save the picture {path}: {error.strerror or error}") from error
        self.tell(f"saved {path}")

    def do_palette(self, _: str) -> None:
        """Find a command by a part of its name."""
        self.action_command_palette()

    def do_pause(self, _: str) -> None:
        """Hold the picture, or let it go on; a replay stands or plays."""
        if isinstance(self.feed, ReplayFeed):
            self.feed.playing = not self.feed.playing
            self.draw()
            return
        self._paused = None if self._paused else _held(self.feed.world())
        self.draw()

    def do_theme(self, name: str) -> None:
        """The next look, or the one that is named."""
        following = themes.NAMES[(themes.NAMES.index(self.theme) + 1) % len(themes.NAMES)]
        wanted = name or following
        if wanted not in themes.NAMES:
            raise UserError(f"there is no theme {wanted!r}; there is {', '.join(themes.NAMES)}")
        self.theme = wanted
        self.tell(f"theme {wanted}")

    # --- plumbing ------------------------------------------------------------------------------------

    def _live(self) -> LiveFeed:
        if not isinstance(self.feed, LiveFeed):
            raise UserError("nothing is polled here; this is no live view")
        return self.feed

    def _poll_every(self, seconds: float) -> None:
        self._live().set_interval(seconds)
        self.tell(f"polling every {seconds:g} s")
        self.draw()

    def page_screen(self) -> PageScreen:
        """The screen that all panes are shown on; a question may lie over it."""
        screen = self.screen_stack[0]
        assert isinstance(screen, PageScreen)
        return screen

    def server_at_hand(self) -> str | None:
        """The server that the pane is about, or that the cursor is on."""
        return self._ways.server_at_hand()

    def member_at_hand(self) -> tuple[str, str] | None:
        """The broker and the member that the cursor is on."""
        return self._ways.member_at_hand()

    def _fleet(self) -> FleetPane:
        fleet = self.page_screen().panes[0]
        assert isinstance(fleet, FleetPane)
        return fleet

    def go(self, pane: Pane) -> None:
        """Show another pane; esc comes back to the one on top."""
        self.page_screen().open(pane)

    def confirm(self, question: str, then: Callable[[], object]) -> None:
        """Ask, and go on when the answer is yes."""

        def answered(yes: bool | None) -> None:
            if yes:
                then()

        self.push_screen(Confirm(question), answered)

    @work(group="actions", exit_on_error=False)
    async def act(self, deed: Awaitable[str]) -> None:
        """Do something to a server, and tell what came of it."""
        try:
            self.tell(await deed)
        except UserError as error:
            self.tell(str(error))

    @work(group="beside", exit_on_error=False)
    async def run_beside(
        self, command: BackgroundCommand, server: str, then: Callable[[], Awaitable[str]] | None = None
    ) -> None:
        """Run a command about a server whatever screen is shown; go on with `then`, and tell what came of it."""
        await command.run()
        sentence = command.outcome if then is None else await then()
        self.note(command.kind, sentence, server)
        self.tell(f"{sentence}; 5 shows what it said")
        self.draw()

    def note(self, kind: str, detail: str, server: str | None = None) -> None:
        """Keep something that happened here among the events."""
        if isinstance(self.present, LiveFeed):
            self.present.note(kind, detail, server)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What went wrong beside the screen is never silent: it is told, an event, and said again at the end."""
        error = event.worker.error
        if event.state is not WorkerState.ERROR or error is None:
            return
        sentence = fault(event.worker.group, error)
        if sentence not in self.faults:
            self.faults.append(sentence)
            self.note("fault", sentence)
        self.tell(sentence)

    def ask(self, question: PromptQuestion) -> None:
        """Ask for a line of text, and go on with it; a mistake that shows only then is told."""

        def go_on(answer: str) -> None:
            try:
                question.then(answer)
            except UserError as error:
                self.tell(str(error))

        self.page_screen().prompt.ask(question._replace(then=go_on))

    def _stop_on_signal(self) -> None:
        # A supervisor stops us with SIGTERM: the terminal is put back and the history is flushed, as after `q`.
        # A terminal that is closed says SIGHUP, and what was polled is kept then too.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)


def fault(what: str, error: BaseException) -> str:
    """A mistake of this program in a sentence that finds the place again."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
    return f"{what} failed: {type(error).__name__}: {error}{where}; this is a fault of the dashboard, please report it"


def _held(world: World) -> World:
    return msgspec.structs.replace(world, mode="paused")


def _command_of(text: str) -> Command:
    """The command that a typed line begins with; UserError when there is none."""
    word = text.strip().partition(" ")[0]
    command = named(word)
    if command is None:
        raise UserError(f"there is no command {word!r}; ? shows them all")
    return command
