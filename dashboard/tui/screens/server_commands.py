"""The commands that change a server, each after a question; and those that run beside the dashboard."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from dashboard import time_input
from dashboard.admin_client import Admin
from dashboard.background_command import BackgroundCommand
from dashboard.device_names import noun
from dashboard.planned_limits import PlannedLimit
from dashboard.replay.feed import Feed, LiveFeed
from dashboard.sweep_results import verdict
from dashboard.tui.screens.background_pane import RunningPane
from dashboard.tui.screens.list_panes import PlanPane
from dashboard.tui.screens.main_screen import PageScreen
from dashboard.tui.screens.pane import Pane
from dashboard.world import ServerView
from whisper_ops.console import WIDTH_VARIABLE
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted, planned_time, plural_of
from whisper_ops.plan.plan_sentences import open_ended
from whisper_ops.server_names import address
from whisper_ops.units import whole
from whisper_ops.wire import Member


class Workshop(Protocol):
    """What these commands need of the app."""

    feed: Feed
    history: Path | None
    admin: Admin | None

    def page_screen(self) -> PageScreen:
        """The screen that panes are shown on."""

    def server_at_hand(self) -> str | None:
        """The server that the screen or the cursor is about."""

    def member_at_hand(self) -> tuple[str, str] | None:
        """The broker and the member of it that the cursor is on."""

    def confirm(self, question: str, then: Callable[[], object]) -> None:
        """Ask, and go on when the answer is yes."""

    def act(self, deed: Awaitable[str]) -> object:
        """Do it beside the event loop's other work, and tell what came of it."""

    def run_beside(
        self, command: BackgroundCommand, server: str, then: Callable[[], Awaitable[str]] | None = None
    ) -> object:
        """Run a command about a server, whatever screen is shown; go on with `then`, and tell what came of it."""

    def go(self, pane: Pane) -> None:
        """Show a pane."""


class Actions:
    """Each `do_NAME` is a command of the registry."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._running: BackgroundCommand | None = None

    def do_drain(self, _: str) -> None:
        """Let no new stream in."""
        admin, server, view = self._changed()
        member = self._workshop.member_at_hand()
        if member is not None:
            broker, name = member
            said = _member(view, name)
            if said is not None and said.state == "draining":
                raise UserError(f"{name} drains already")
            question = f"Drain {name}?\n\n{broker} sends nobody there any more; its streams go on."
            self._workshop.confirm(question, lambda: self._workshop.act(admin.drain(broker, name)))
            return
        if _status(view) == "draining":
            raise UserError(f"{server} drains already")
        question = (
            f"Drain the broker {server}?\n\nIt sends nobody to any server; streams go on. One server: 6, then :drain."
            if _is_broker(view)
            else f"Drain {server}?\n\nIts streams go on; new ones are refused until it is undrained."
        )
        self._workshop.confirm(question, lambda: self._workshop.act(admin.drain(server)))

    def do_undrain(self, _: str) -> None:
        """Let new streams in again."""
        admin, server, view = self._changed()
        member = self._workshop.member_at_hand()
        name = server if member is None else member[1]
        said = None if member is None else _member(view, name)
        state = _status(view) if said is None else said.state
        if state is not None and state != "draining":
            raise UserError(f"{name} does not drain: it takes new streams")
        at = None if member is None else name
        self._workshop.confirm(
            f"Let new streams into {name} again?", lambda: self._workshop.act(admin.undrain(server, at))
        )

    def do_limit(self, text: str) -> None:
        """Set how many streams each GPU admits."""
        admin, server, view = self._changed()
        streams = whole(text, 100_000)
        if not streams:
            raise UserError("say how many streams a GPU may carry, as in :limit 18")
        per, now = _per(view), _limit(view)
        if streams == now:
            raise UserError(f"{server} admits {counted(streams, 'stream')} per {per} already")
        of = f"every server behind {server}" if _is_broker(view) else server
        question = (
            f"Set the limit of {of} to {counted(streams, 'stream')} per {per}?\n\nStreams over it go on to their end."
        )
        self._workshop.confirm(question, lambda: self._workshop.act(admin.limit(server, streams, per)))

    def do_sweep(self, text: str) -> None:
        """Measure a server with speaking clients, and watch that."""
        admin, server, view = self._open_target()
        levels, _, each = text.strip().partition(" ")
        levels = levels or "1,2,4"
        counts = [whole(part) for part in levels.split(",")]
        if not all(counts):
            raise UserError("say the levels of load, as in :sweep 5,10,20, and how long each lasts: :sweep 5,10 30 s")
        slots = view.answer.figures.slots if view.answer and view.answer.figures else None
        if slots is not None and min(count or 0 for count in counts) > slots:
            raise UserError(f"{server} has {counted(slots, 'slot')}: a sweep needs a level that fits into them")
        seconds = time_input.length(each) if each else None
        lasting = () if seconds is None else ("--duration", f"{seconds:g}")
        through = ("--connect",) if _is_broker(view) else ()
        history = ("--history", str(self._workshop.history))
        command = admin.beside("sweep", server, *through, *history, "--levels", levels, *lasting)
        clients = plural_of(sum(count or 0 for count in counts), "client")
        long = "" if seconds is None else f", {planned_time(seconds)} each"
        question = (
            f"Sweep {server} with {levels} speaking {clients}{long}?\n\nThey take slots, and compute, from its users."
        )
        self._beside(question, command, server, lambda: self._after_sweep(admin, server, command))

    def do_check(self, _: str) -> None:
        """Check a server by filling it, and watch that."""
        admin, server, _view = self._open_target()
        # The question that the command would ask is asked here.
        command = admin.beside("check", server, "--yes")
        question = f"Check {server}?\n\nIt is filled to its last slot and emptied; new users are refused meanwhile."
        self._beside(question, command, server)

    def do_running(self, _: str) -> None:
        """Show the command that runs beside the dashboard, or ran last."""
        if self._running is None:
            raise UserError("nothing was started beside the dashboard; :sweep and :check do")
        self._workshop.go(RunningPane(self._running))

    async def _after_sweep(self, admin: Admin, server: str, sweep: BackgroundCommand) -> str:
        """What was measured, then the plan from it, and whether its limit is to be set. Returns a sentence."""
        history = self._workshop.history
        if history is None or sweep.code not in {Exit.GOOD, Exit.NO}:
            return sweep.outcome
        found = await asyncio.to_thread(verdict, history, address(admin.url(server)))
        sweep.verdict = f"sweep of {server}: {found}" if found else None
        said = sweep.outcome
        plan = self._running = admin.plan(server, history)
        await plan.run()
        self._running = sweep
        if plan.code not in {Exit.GOOD, Exit.NO}:
            return f"{said}; {plan.outcome}"
        await asyncio.to_thread(self._workshop.feed.refresh)
        self._workshop.go(PlanPane(server))
        view = self._workshop.feed.world().server(server)
        knee = None if view is None else view.knee
        if view is None or knee is None:
            return f"{said}; a plan was made, but for none that runs what {server} runs now"
        self._offer(admin, view, knee)
        return f"{said}; the plan allows {counted(knee.per_gpu, 'stream')} per {_per(view)}"

    def _offer(self, admin: Admin, view: ServerView, knee: PlannedLimit) -> None:
        """Ask whether the limit of a new plan is to be set, where that can be done and is not so already."""
        server, now, per = view.name, _limit(view), _per(view)
        if knee.per_gpu < 1 or knee.per_gpu == now or not admin.may_act:
            return
        before = "" if now is None else f" It admits {now} now."
        sure = " The levels were short: it is provisional." if knee.provisional else ""
        sure += " No level failed: more may fit." if open_ended(knee.plan) else ""
        question = f"Set the limit of {server} to {counted(knee.per_gpu, 'stream')} per {per}, as the plan says?"
        detail = f"{before}{sure} Streams over it go on to their end.".strip()
        self._workshop.confirm(
            f"{question}\n\n{detail}", lambda: self._workshop.act(admin.limit(server, knee.per_gpu, per))
        )

    def _beside(
        self, question: str, command: BackgroundCommand, server: str, then: Callable[[], Awaitable[str]] | None = None
    ) -> None:
        def start() -> None:
            self._running = command
            command.environment[WIDTH_VARIABLE] = str(self._workshop.page_screen().width - 2)
            self._workshop.run_beside(command, server, then)
            self._workshop.go(RunningPane(command))

        self._workshop.confirm(question, start)

    def _changed(self) -> tuple[Admin, str, ServerView]:
        """The server that is to be changed, when that can be done: only then is it asked about."""
        admin, server, view = self._target()
        admin.check_token()
        return admin, server, view

    def _open_target(self) -> tuple[Admin, str, ServerView]:
        """The server that clients are to be sent to, when it lets them in."""
        admin, server, view = self._target()
        if self._running is not None and self._running.code is None:
            raise UserError(f"the {self._running.title} is still running; 5 shows it")
        if _status(view) == "draining":
            raise UserError(f"{server} drains and lets nobody in; :undrain ends that")
        return admin, server, view

    def _target(self) -> tuple[Admin, str, ServerView]:
        workshop = self._workshop
        if workshop.admin is None:
            raise UserError("this dashboard only looks: it was started with --read-only or with no server")
        if not isinstance(workshop.feed, LiveFeed):
            raise UserError("the past cannot be changed; L goes back to the present")
        server = workshop.server_at_hand()
        if server is None:
            raise UserError("put the cursor on a server first; 1 shows them")
        workshop.admin.url(server)
        view = workshop.feed.world().server(server)
        if view is None or view.silent or view.answer is None:
            raise UserError(f"{server} does not answer; nothing can be done to it until it does")
        return workshop.admin, server, view


def _status(view: ServerView) -> str | None:
    return view.answer.figures.status if view.answer and view.answer.figures else None


def _limit(view: ServerView) -> int | None:
    return view.answer.figures.slots_per_gpu if view.answer and view.answer.figures else None


def _per(view: ServerView) -> str:
    return noun(view.answer.gpus if view.answer else ())


def _is_broker(view: ServerView) -> bool:
    return view.answer is not None and view.answer.members is not None


def _member(view: ServerView, name: str) -> Member | None:
    members = (view.answer.members if view.answer else None) or ()
    return next((member for member in members if member.name == name), None)
