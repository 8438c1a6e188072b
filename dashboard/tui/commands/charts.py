"""Commands of pages with charts: how far back these look, and their time cursor."""

from typing import TYPE_CHECKING

from dashboard.chart_data import SPANS
from dashboard.tui.pages.command import Command
from dashboard.tui.screens.chart_pane import ChartedPane
from dashboard.tui.screens.server_panes import GpuPane, ServerPane
from whisper_ops.errors import UserError

if TYPE_CHECKING:
    from dashboard.tui.screens.app_context import AppContext

_PAGES = (ServerPane.PAGE, GpuPane.PAGE)


def longer(context: "AppContext", _: str) -> None:
    _look_back(context, _pane(context).span + 1)


def shorter(context: "AppContext", _: str) -> None:
    _look_back(context, _pane(context).span - 1)


def span(context: "AppContext", name: str) -> None:
    names = [known.replace(" ", "") for known, _ in SPANS]
    chosen = name.replace(" ", "").lower()
    if chosen not in names:
        raise UserError(f"charts have no span {name!r}; they have {', '.join(known for known, _ in SPANS)}")
    _look_back(context, names.index(chosen))


def earlier(context: "AppContext", _: str) -> None:
    _move_cursor(context, -1)


def later(context: "AppContext", _: str) -> None:
    _move_cursor(context, 1)


def _pane(context: "AppContext") -> ChartedPane:
    pane = context.screen.pane
    assert isinstance(pane, ChartedPane), "these commands work on pages with charts alone"
    return pane


def _look_back(context: "AppContext", index: int) -> None:
    _pane(context).look_back(index)
    context.screen.redraw()


def _move_cursor(context: "AppContext", direction: int) -> None:
    screen = context.screen
    _pane(context).move_cursor(direction, screen.world.now, screen.width)
    screen.redraw()


COMMANDS = (
    Command(
        name="longer", run=longer, keys=("right_square_bracket",), group="look", pages=_PAGES,
        help="Charts look further back.",
    ),
    Command(
        name="shorter", run=shorter, keys=("left_square_bracket",), group="look", pages=_PAGES,
        help="Charts look less far back.",
    ),
    Command(
        name="span", run=span, group="look", argument="6 h", pages=_PAGES,
        help="How far back charts look: 5 min to 90 d.",
    ),
    Command(
        name="earlier", run=earlier, keys=("comma",), group="look", pages=_PAGES,
        help="The time cursor of all charts one step back.",
    ),
    Command(
        name="later", run=later, keys=("full_stop",), group="look", pages=_PAGES, help="The time cursor one step on."
    ),
)  # fmt: skip
