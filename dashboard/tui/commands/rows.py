"""Commands of the table: the cursor, opening a row and going back, filter, sort, and the GPUs under a server."""

from typing import TYPE_CHECKING

from dashboard.tui.pages.command import Command
from dashboard.tui.pages.filters import parse
from dashboard.tui.pages.row_keys import row_target
from dashboard.tui.screens.fleet_pane import FleetPane
from dashboard.tui.screens.prompt_question import PromptQuestion
from dashboard.tui.screens.server_panes import GpuPane, ServerPane
from whisper_ops.errors import UserError

if TYPE_CHECKING:
    from dashboard.tui.screens.app_context import AppContext

_PAGES = (FleetPane.PAGE,)
_ALL_ROWS = 1_000_000
"""Steps that lead to the first or the last row from anywhere."""


def filter_rows(context: "AppContext", text: str) -> None:
    def use(answer: str) -> None:
        context.fleet.set_filter(answer)
        context.screen.redraw()

    if text:
        use(text)
    else:
        hint, now = "lag>1 & gpu~h100", context.fleet.view.filter
        context.ask(PromptQuestion("/", use, parse, hint=hint, text=now))


def open_row(context: "AppContext", _: str) -> None:
    row = row_target(context.screen.sheet.cursor)
    if row is None:
        return
    charts, view = context.feeds.shown.charts, context.chart_view
    if row.gpu_id is not None:
        context.screen.open(GpuPane(row.server, row.gpu_id, charts, view))
    else:
        server = row.server if row.member is None else _polled_member(context, row.server, row.member)
        context.screen.open(ServerPane(server, charts, view))


def _polled_member(context: "AppContext", broker: str, member: str) -> str:
    """The name under which a server behind a broker is polled itself; UserError where it is not."""
    servers = context.feeds.world().servers
    members = next((server.answer.members for server in servers if server.name == broker and server.answer), None) or ()
    server_id = next((one.server_id for one in members if one.name == member), None)
    for server in servers:
        own_id = server.answer.server_id if server.answer else None
        if server.name == member or (server_id and own_id == server_id):
            return server.name
    raise UserError(f"{member} is known through its broker alone; start dash with its address too to open it")


def back(context: "AppContext", _: str) -> None:
    if context.screen.pane.back():
        context.screen.redraw()
    else:
        context.screen.back()


def down(context: "AppContext", _: str) -> None:
    context.screen.sheet.move(1)


def up(context: "AppContext", _: str) -> None:
    context.screen.sheet.move(-1)


def ahead(context: "AppContext", _: str) -> None:
    context.screen.sheet.move(context.screen.sheet.page_rows())


def behind(context: "AppContext", _: str) -> None:
    context.screen.sheet.move(-context.screen.sheet.page_rows())


def top(context: "AppContext", _: str) -> None:
    context.screen.sheet.move(-_ALL_ROWS)


def bottom(context: "AppContext", _: str) -> None:
    context.screen.sheet.move(_ALL_ROWS)


def fold(context: "AppContext", _: str) -> None:
    row = row_target(context.screen.sheet.cursor)
    if row is not None:
        context.fleet.fold(row.server)
        context.screen.redraw()


def unfold(context: "AppContext", _: str) -> None:
    rows = map(row_target, context.screen.sheet.keys)
    context.fleet.fold_all(closed=any(row is not None and row.gpu_id is not None for row in rows))
    context.screen.redraw()


def sort(context: "AppContext", name: str) -> None:
    context.fleet.sort(name)
    context.screen.redraw()


COMMANDS = (
    Command(
        name="filter", run=filter_rows, keys=("slash",), group="move", argument="[lag>1 & gpu~h100]", footer="filter",
        pages=_PAGES, help="Show only what meets a filter.",
    ),
    Command(
        name="open", run=open_row, keys=("enter", "l", "right"), group="move", footer="open",
        help="Open the row under the cursor.",
    ),
    Command(name="back", run=back, keys=("escape", "h", "left"), group="move", help="Back to the page before."),
    Command(name="down", run=down, keys=("j", "down"), group="move", help="To the next row."),
    Command(name="up", run=up, keys=("k", "up"), group="move", help="To the row before."),
    Command(name="ahead", run=ahead, keys=("pagedown", "ctrl+d"), group="move", help="A screenful down."),
    Command(name="behind", run=behind, keys=("pageup", "ctrl+u"), group="move", help="A screenful up."),
    Command(name="top", run=top, keys=("g", "home"), group="move", help="To the first row."),
    Command(name="bottom", run=bottom, keys=("G", "end"), group="move", help="To the last row."),
    Command(
        name="fold", run=fold, keys=("space",), group="move", pages=_PAGES, help="Show or hide the GPUs of a server."
    ),
    Command(
        name="unfold", run=unfold, keys=("e",), group="move", pages=_PAGES,
        help="Show or hide the GPUs of all servers.",
    ),
    Command(
        name="sort", run=sort, keys=("o",), group="move", argument="[lag]", pages=_PAGES,
        help="Sort by the next column, or by the one that is named.",
    ),
)  # fmt: skip
