"""The commands that change a server, each after a question; and those that run beside the dashboard."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from dashboard.admin import Admin
from dashboard.beside import Beside
from dashboard.feeds import Feed, Live
from dashboard.screens.base import PageScreen
from dashboard.screens.pane import Pane
from dashboard.screens.running import RunningPane
from dashboard.view import moments
from whisper_ops.console import WIDTH_VARIABLE
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.units import whole


class Workshop(Protocol):
    """What these commands need of the app."""

    feed: Feed
    history: Path | None
    admin: Admin | None

    def page_screen(self) -> PageScreen:
        """The screen that panes are shown on."""

    def server_at_hand(self) -> str | None:
        """The server that the screen or the cursor is about."""

    def confirm(self, question: str, then: Callable[[], object]) -> None:
        """Ask, and go on when the answer is yes."""

    def act(self, deed: Awaitable[str]) -> object:
        """Do it beside the event loop's other work, and tell what came of it."""

    def run_beside(self, command: Beside) -> object:
        """Run a command whatever screen is shown."""

    def go(self, pane: Pane) -> None:
        """Show a pane."""


class Actions:
    """Each `do_NAME` is a command of the registry."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._running: Beside | None = None

    def do_drain(self, _: str) -> None:
        """Let no new stream in."""
        admin, server = self._target()
        question = f"Drain {server}?\n\nIts streams go on; new ones are refused until it is undrained."
        self._workshop.confirm(question, lambda: self._workshop.act(admin.drain(server)))

    def do_undrain(self, _: str) -> None:
        """Let new streams in again."""
        admin, server = self._target()
        self._workshop.confirm(
            f"Let new streams into {server} again?", lambda: self._workshop.act(admin.undrain(server))
        )

    def do_limit(self, text: str) -> None:
        """Set how many streams each GPU admits."""
        admin, server = self._target()
        streams = whole(text, 100_000)
        if not streams:
            raise UserError("say how many streams a GPU may carry, as in :limit 18")
        question = (
            f"Set the limit of {server} to {counted(streams, 'stream')} per GPU?\n\nStreams over it go on to their end."
        )
        self._workshop.confirm(question, lambda: self._workshop.act(admin.limit(server, streams)))

    def do_sweep(self, text: str) -> None:
        """Measure a server with speaking clients, and watch that."""
        admin, server = self._target()
        levels, _, each = text.strip().partition(" ")
        levels = levels or "1,2,4"
        if not all(whole(part) for part in levels.split(",")):
            raise UserError("say the levels of load, as in :sweep 5,10,20, and how long each lasts: :sweep 5,10 30 s")
        lasting = ("--duration", f"{moments.length(each):g}") if each else ()
        command = admin.beside("sweep", server, "--history", str(self._workshop.history), "--levels", levels, *lasting)
        self._beside(
            f"Sweep {server} with {levels} speaking clients?\n\nThey take slots, and compute, from its users.", command
        )

    def do_check(self, _: str) -> None:
        """Check a server by filling it, and watch that."""
        admin, server = self._target()
        # The question that the command would ask is asked here.
        command = admin.beside("check", server, "--yes")
        question = f"Check {server}?\n\nIt is filled to its last slot and emptied; new users are refused meanwhile."
        self._beside(question, command)

    def do_running(self, _: str) -> None:
        """Show the command that runs beside the dashboard, or ran last."""
        if self._running is None:
            raise UserError("nothing was started beside the dashboard; :sweep and :check do")
        self._workshop.go(RunningPane(self._running))

    def _beside(self, question: str, command: Beside) -> None:
        if self._running is not None and self._running.code is None:
            raise UserError(f"the {self._running.title} is still running; 5 shows it")

        def start() -> None:
            self._running = command
            command.environment[WIDTH_VARIABLE] = str(self._workshop.page_screen().width - 2)
            self._workshop.run_beside(command)
            self._workshop.go(RunningPane(command))

        self._workshop.confirm(question, start)

    def _target(self) -> tuple[Admin, str]:
        workshop = self._workshop
        if workshop.admin is None:
            raise UserError("this dashboard only looks: it was started with --read-only or with no server")
        if not isinstance(workshop.feed, Live):
            raise UserError("the past cannot be changed; L goes back to the present")
        server = workshop.server_at_hand()
        if server is None:
            raise UserError("put the cursor on a server first")
        workshop.admin.url(server)
        return workshop.admin, server
