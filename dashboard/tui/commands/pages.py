"""Commands that open a page."""

from typing import TYPE_CHECKING

from dashboard.tui.commands.targets import target_server
from dashboard.tui.pages.command import Command
from dashboard.tui.screens.list_panes import AlertsPane, EventsPane, MembersPane, PlanPane
from dashboard.tui.screens.server_panes import GpuPane
from whisper_ops.errors import UserError

if TYPE_CHECKING:
    from dashboard.tui.screens.app_context import AppContext


def fleet(context: "AppContext", _: str) -> None:
    context.screen.back(to=0)


def alerts(context: "AppContext", _: str) -> None:
    context.screen.open(AlertsPane())


def plan(context: "AppContext", _: str) -> None:
    context.screen.open(PlanPane(target_server(context)))


def busiest(context: "AppContext", _: str) -> None:
    busy = [
        (gpu.busy_ratio, server.name, gpu.gpu_id)
        for server in context.feeds.world().servers
        if server.answer and not server.silent
        for gpu in server.answer.gpus
        if gpu.busy_ratio is not None
    ]
    if not busy:
        raise UserError("no server reports how busy its GPUs are")
    server_name, gpu_id = max(busy)[1:]
    context.screen.open(GpuPane(server_name, gpu_id, context.feeds.shown.charts, context.chart_view))


def events(context: "AppContext", _: str) -> None:
    context.screen.open(EventsPane())


def members(context: "AppContext", _: str) -> None:
    context.screen.open(MembersPane())


COMMANDS = (
    Command(name="fleet", run=fleet, keys=("1",), group="look", help="The fleet: a row a server."),
    Command(
        name="alerts", run=alerts, keys=("2", "a"), group="look", footer="alerts",
        help="Active alerts, and past ones.",
    ),
    Command(
        name="plan", run=plan, keys=("3",), group="look", footer="plan",
        help="The safe limit, its reason, what limits next, and whether the fleet can lose a server.",
    ),
    Command(
        name="busiest", run=busiest, keys=("b",), group="look", footer="busiest",
        help="The GPU whose engine is busiest.",
    ),
    Command(name="events", run=events, keys=("4",), group="look", help="What happened, newest first."),
    Command(
        name="members", run=members, keys=("6", "m"), group="look",
        help="The servers behind a broker: free slots, full, draining or lost.",
    ),
)  # fmt: skip
