"""Commands that run another whisper-ops command about a server in the background: sweep, with its plan, and check."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from dashboard import time_input
from dashboard.background_command import BackgroundCommand
from dashboard.planned_limits import PlannedLimit
from dashboard.sweep_results import verdict
from dashboard.tui.commands.admin import call_server
from dashboard.tui.commands.targets import ServerTarget, device_of, target
from dashboard.tui.pages.command import Command
from dashboard.tui.screens.background_pane import RunningPane
from dashboard.tui.screens.list_panes import PlanPane
from dashboard.world import ServerView
from whisper_ops.console import WIDTH_VARIABLE
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted, planned_time, plural_of
from whisper_ops.plan.plan_sentences import open_ended
from whisper_ops.server_names import default_name
from whisper_ops.units import whole

if TYPE_CHECKING:
    from dashboard.admin_client import Admin
    from dashboard.tui.screens.app_context import AppContext

_DEFAULT_LEVELS = "1,2,4"


def sweep(context: "AppContext", text: str) -> None:
    to = _open_target(context)
    levels, _, each = text.strip().partition(" ")
    levels = levels or _DEFAULT_LEVELS
    clients = plural_of(sum(_streams(levels, to)), "client")
    seconds = time_input.length(each) if each else None
    command = to.admin.in_background(
        "sweep", to.server,
        *(("--connect",) if to.is_broker else ()),
        *("--history", str(context.history), "--levels", levels),
        *(() if seconds is None else ("--duration", f"{seconds:g}")),
    )  # fmt: skip
    lasting = "" if seconds is None else f", {planned_time(seconds)} each"
    question = (
        f"Sweep {to.server} with {levels} speaking {clients}{lasting}?\n\nThey take slots, and compute, from its users."
    )
    _confirm_run(context, question, command, to.server, lambda: _plan_after(context, to.admin, to.server, command))


def _streams(levels: str, to: ServerTarget) -> list[int]:
    """The streams of each level; UserError where they cannot be read, or none fits into the slots of the server."""
    streams = [whole(part) or 0 for part in levels.split(",")]
    if not all(streams):
        raise UserError("say the levels of load, as in :sweep 5,10,20, and how long each lasts: :sweep 5,10 30 s")
    slots = to.figures.slots
    if slots is not None and min(streams) > slots:
        raise UserError(f"{to.server} has {counted(slots, 'slot')}: a sweep needs a level that fits into them")
    return streams


def check(context: "AppContext", _: str) -> None:
    to = _open_target(context)
    # The question that the command would ask is asked here.
    command = to.admin.in_background("check", to.server, "--yes")
    question = f"Check {to.server}?\n\nIt is filled to its last slot and emptied; new users are refused meanwhile."
    _confirm_run(context, question, command, to.server)


def running(context: "AppContext", _: str) -> None:
    if context.background is None:
        raise UserError("no sweep or check was started here yet; :sweep and :check start one")
    context.screen.open(RunningPane(context.background))


def stop(context: "AppContext", _: str) -> None:
    if context.background is not None:
        context.background.stop()


def run_in_background(
    context: "AppContext",
    command: BackgroundCommand,
    server: str,
    then: Callable[[], Awaitable[str]] | None = None,
) -> None:
    """Run a command about a server, whatever page is shown; go on with `then`. Its result is told, and an event."""
    context.background = command
    context.screen.open(RunningPane(command))

    async def work() -> None:
        await command.run()
        result = command.outcome if then is None else await then()
        context.feeds.note(command.kind, result, server)
        context.tell(f"{result}; 5 shows its output")
        context.draw()

    context.app.run_worker(work(), group="background", exit_on_error=False)


def _confirm_run(
    context: "AppContext",
    question: str,
    command: BackgroundCommand,
    server: str,
    then: Callable[[], Awaitable[str]] | None = None,
) -> None:
    def start() -> None:
        command.environment[WIDTH_VARIABLE] = str(context.screen.width - 2)
        run_in_background(context, command, server, then)

    context.confirm(question, start)


async def _plan_after(context: "AppContext", admin: "Admin", server: str, command: BackgroundCommand) -> str:
    """After a sweep: what it measured, then the plan from it, whose limit is offered. Returns a sentence."""
    history = context.history
    if history is None or command.code not in {Exit.GOOD, Exit.NO}:
        return command.outcome
    measured = await asyncio.to_thread(verdict, history, default_name(admin.url(server)))
    command.verdict = f"sweep of {server}: {measured}" if measured else None
    plan = context.background = admin.plan(server, history)
    await plan.run()
    context.background = command
    if plan.code not in {Exit.GOOD, Exit.NO}:
        return f"{command.outcome}; {plan.outcome}"
    await asyncio.to_thread(context.feeds.shown.refresh)
    context.screen.open(PlanPane(server))
    view = context.feeds.world().server(server)
    planned = None if view is None else view.planned
    if view is None or planned is None:
        return f"{command.outcome}; a plan was made, but not for the model that {server} runs now"
    _offer_limit(context, admin, view, planned)
    return f"{command.outcome}; the plan allows {counted(planned.per_gpu, 'stream')} per {device_of(view)}"


def _offer_limit(context: "AppContext", admin: "Admin", view: ServerView, planned: PlannedLimit) -> None:
    """Ask whether the limit of a new plan is to be set, where that can be done and is not so already."""
    figures = view.answer.figures if view.answer else None
    now = None if figures is None else figures.slots_per_gpu
    if planned.per_gpu < 1 or planned.per_gpu == now or not admin.may_act:
        return
    device = device_of(view)
    details = [
        *([f"It admits {now} now."] if now is not None else []),
        *(["The levels were short: it is provisional."] if planned.provisional else []),
        *(["No level failed: more may fit."] if open_ended(planned.plan) else []),
        "Streams over it go on to their end.",
    ]
    context.confirm(
        f"Set the limit of {view.name} to {counted(planned.per_gpu, 'stream')} per {device}, as the plan says?\n\n"
        f"{' '.join(details)}",
        lambda: call_server(context, admin.limit(view.name, planned.per_gpu, device)),
    )


def _open_target(context: "AppContext") -> ServerTarget:
    """The server that clients are to be sent to, where it admits them and nothing else runs."""
    to = target(context)
    if context.background is not None and context.background.code is None:
        raise UserError(f"the {context.background.title} is still running; 5 shows it")
    if to.figures.status == "draining":
        raise UserError(f"{to.server} is draining and refuses new streams; :undrain ends that")
    return to


COMMANDS = (
    Command(
        name="sweep", run=sweep, group="act", argument="[5,10,20 [30 s]]",
        help="Load test: measure the server with so many speaking clients at a time, and watch it.",
    ),
    Command(
        name="check", run=check, group="act",
        help="Fill the server to its last slot, and report what works and what does not."
    ),
    Command(name="running", run=running, keys=("5",), group="act", help="The sweep or check that runs, or ran last."),
    Command(
        name="stop", run=stop, keys=("x",), group="act", pages=(RunningPane.PAGE,), footer="stop",
        help="Stop this command.",
    ),
)  # fmt: skip
