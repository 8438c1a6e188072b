"""The dashboard as textual runs it: it draws the shown feed at most twice a second, and takes keys, clicks and signals.

What can be done is in `commands`; what these work with is in `screens.app_context`.
"""

import asyncio
import contextlib
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.worker import Worker, WorkerState

from dashboard.admin_client import Admin
from dashboard.replay.feed import Feed, LiveFeed
from dashboard.tui.commands.registry import COMMANDS
from dashboard.tui.pages.command import command_named
from dashboard.tui.saved_state import SavedState
from dashboard.tui.screens.app_context import AppContext
from dashboard.tui.screens.chart_pane import ChartView
from dashboard.tui.screens.fleet_pane import FleetPane
from dashboard.tui.screens.main_screen import PageScreen
from dashboard.tui.screens.palette import CommandProvider
from dashboard.tui.screens.shown_feed import ShownFeed
from dashboard.tui.widgets import themes
from dashboard.tui.widgets.line_styles import CommandClicked
from dashboard.tui.widgets.sheet import Sheet
from dashboard.tui.widgets.terminal_driver import QuickDriver

REPAINT_SECONDS = 0.5
_REFRESH_SECONDS = 5.0

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
        """`caption` is asked at each repaint for a line under the title. `opening` is told once at the start.

        `admin` is None where nothing may be done to servers.
        """
        plain = "NO_COLOR" in os.environ
        # Without colours the terminal's own are used, so that not one colour code is sent.
        super().__init__(ansi_color=True if plain else None)
        state = state or SavedState()
        self.feeds = ShownFeed(feed)
        self.context = AppContext(
            self, self.feeds, FleetPane(state.view), ChartView(state.span), history=history, admin=admin
        )
        self.faults: list[str] = []
        """What went wrong in this program itself, each sentence once."""
        self._caption = caption
        self._opening = opening
        for theme in themes.THEMES:
            self.register_theme(theme)
        self.theme = themes.PLAIN if plain else (state.theme if state.theme in themes.NAMES else themes.DEFAULT)

    @property
    def state(self) -> SavedState:
        """How it is looked at now, to be found again like this."""
        view = self.context.fleet.view
        theme = None if self.theme == themes.PLAIN and self.no_color else self.theme
        span = self.context.chart_view.span
        return SavedState(theme=theme, sort=view.sort, filter=view.filter, expand=view.expand, span=span)

    @property
    def left(self) -> SavedState | None:
        """How it was looked at when the user left; None before, and after a signal."""
        return self.state if self.context.left else None

    def get_driver_class(self) -> type[Driver]:
        """On a Unix terminal, the driver that feels `esc` at once."""
        usual = super().get_driver_class()
        return QuickDriver if usual is LinuxDriver else usual

    def get_default_screen(self) -> PageScreen:
        return PageScreen(COMMANDS, self.context.fleet, self.feeds.world())

    def on_mount(self) -> None:
        """Start polling and drawing."""
        self._stop_on_signal()
        if isinstance(self.feeds.present, LiveFeed):
            # A task a server, in a group of the fleet's own: replicas come and go, and none waits for another.
            self.run_worker(self.feeds.present.run(), group="polling", exclusive=True)
        self.set_interval(REPAINT_SECONDS, self.repaint)
        self.set_interval(_REFRESH_SECONDS, self.context.refresh_feed)
        self.context.refresh_feed()
        self.call_after_refresh(self.repaint)
        if self._opening is not None:
            self.call_after_refresh(self.context.tell, self._opening)

    def repaint(self) -> None:
        """Draw this moment and its caption."""
        if not self.screen_stack:  # the clock ticked once more while the screens were closed
            return
        self.context.screen.set_caption(self._caption())
        self.context.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys belong to a question, and to a line that is typed, while there is one; but ctrl+c ends everything."""
        if action != "command":
            return super().check_action(action, parameters)
        screen = self.screen
        return isinstance(screen, PageScreen) and (parameters == ("leave",) or not screen.prompt.asking)

    def action_command(self, name: str) -> None:
        """A key was pressed, or a line of the palette chosen."""
        command = command_named(COMMANDS, name)
        if command is not None and isinstance(self.screen, PageScreen):
            self.context.run(command)

    def on_command_clicked(self, message: CommandClicked) -> None:
        """A word of the title, the footer or the page was clicked."""
        self.context.run_line(message.line)

    def on_sheet_opened(self, _: Sheet.Opened) -> None:
        """The row under the cursor was clicked."""
        self.action_command("open")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What went wrong beside the screen is never silent: it is told, an event, and said again at the end."""
        error = event.worker.error
        if event.state is not WorkerState.ERROR or error is None:
            return
        sentence = fault(event.worker.group, error)
        if sentence not in self.faults:
            self.faults.append(sentence)
            self.feeds.note("fault", sentence)
        self.context.tell(sentence)

    def _stop_on_signal(self) -> None:
        # A supervisor stops us with SIGTERM: the terminal is put back and the history is flushed, as after `q`.
        # A terminal that is closed says SIGHUP, and what was polled is kept then too.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)


def fault(group: str, error: BaseException) -> str:
    """A mistake of this program in a sentence that names the place: which worker, which error, which line."""
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
    return f"{group} failed: {type(error).__name__}: {error}{where}; this is a fault of the dashboard, please report it"
