"""Commands about the dashboard itself: pause, speed, pictures, themes, help, and leaving."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard.tui.pages.command import Command
from dashboard.tui.screens.help_pane import HELP_PAGES, HelpPane, WordsPane
from dashboard.tui.screens.prompt_question import PromptQuestion
from whisper_ops.errors import UserError

if TYPE_CHECKING:
    from dashboard.tui.screens.app_context import AppContext

_INTERVALS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""How often servers may be polled: every so many seconds."""


def pause(context: "AppContext", _: str) -> None:
    context.feeds.toggle_pause()
    context.draw()


def faster(context: "AppContext", _: str) -> None:
    if context.feeds.is_replay:
        _change_speed(context, 1)
    else:
        now = context.feeds.live.interval
        _poll_every(context, max((each for each in _INTERVALS if each < now), default=_INTERVALS[0]))


def slower(context: "AppContext", _: str) -> None:
    if context.feeds.is_replay:
        _change_speed(context, -1)
    else:
        now = context.feeds.live.interval
        _poll_every(context, min((each for each in _INTERVALS if each > now), default=_INTERVALS[-1]))


def _change_speed(context: "AppContext", steps: int) -> None:
    """Replay so many speeds faster, or slower for negative steps."""
    replay = context.feeds.replay
    replay.faster(steps)
    context.tell(f"replay at {replay.speed:g}x")
    context.draw()


def _poll_every(context: "AppContext", seconds: float) -> None:
    context.feeds.live.set_interval(seconds)
    context.tell(f"polling every {seconds:g} s")
    context.draw()


def picture(context: "AppContext", name: str) -> None:
    path = Path(name or f"whisper-ops-{time.strftime('%Y%m%d-%H%M%S')}.svg")
    try:
        path.write_text(context.app.export_screenshot(), "utf-8")
    except OSError as error:
        raise UserError(f"cannot save the picture {path}: {error.strerror or error}") from error
    context.tell(f"saved {path}")


def copy(context: "AppContext", _: str) -> None:
    row = context.screen.sheet.cursor_line
    if row is None:
        raise UserError("there is no row here to copy")
    text = "  ".join(row.text.split())
    # The terminal decides whether a program may fill its clipboard.
    context.app.copy_to_clipboard(text)
    context.tell(f"copied: {text}")


def theme(context: "AppContext", name: str) -> None:
    from dashboard.tui.widgets.themes import NAMES

    chosen = name or NAMES[(NAMES.index(context.app.theme) + 1) % len(NAMES)]
    if chosen not in NAMES:
        raise UserError(f"there is no theme {chosen!r}; there is {', '.join(NAMES)}")
    context.app.theme = chosen
    context.tell(f"theme {chosen}")


def show_help(context: "AppContext", _: str) -> None:
    if not _close_help(context):
        context.screen.open(HelpPane(context.screen.commands, context.screen.pane.PAGE))


def words(context: "AppContext", _: str) -> None:
    if context.screen.pane.PAGE == WordsPane.PAGE:
        context.screen.back()
    else:
        context.screen.open(WordsPane(context.screen.pane.PAGE))


def type_command(context: "AppContext", _: str) -> None:
    page = context.screen.pane.PAGE
    names = tuple(command.name for command in context.screen.commands if command.works_on(page))
    context.ask(PromptQuestion(":", context.run_line, hint="a command, as in sort lag", words=names))


def palette(context: "AppContext", _: str) -> None:
    context.app.action_command_palette()


def close_or_leave(context: "AppContext", argument: str) -> None:
    if not _close_help(context):
        leave(context, argument)


def leave(context: "AppContext", _: str) -> None:
    context.left = True
    context.app.exit()


def _close_help(context: "AppContext") -> bool:
    """Close the help, or its words, if that is what is shown; whether it was."""
    on_help = context.screen.pane.PAGE in HELP_PAGES
    if on_help:
        context.screen.back()
    return on_help


COMMANDS = (
    Command(
        name="pause", run=pause, keys=("p",), group="tool", footer="pause",
        help="Hold the picture, or let it go on; polling and recording never stop.",
    ),
    Command(
        name="faster", run=faster, keys=("plus", "equals_sign"), group="tool", help="Poll more often; replay faster."
    ),
    Command(name="slower", run=slower, keys=("minus",), group="tool", help="Poll less often; replay slower."),
    Command(
        name="picture", run=picture, keys=("s",), group="tool", footer="picture",
        help="Save a picture of the screen (SVG).",
    ),
    Command(name="copy", run=copy, keys=("y",), group="tool", help="Copy the row under the cursor."),
    Command(
        name="theme", run=theme, keys=("T",), group="tool", argument="[light]",
        help="The next theme, or the one that is named.",
    ),
    Command(
        name="help", run=show_help, keys=("question_mark", "f1"), group="tool", footer="help", help="Show this help."
    ),
    Command(
        name="words", run=words, keys=("w",), group="tool", help="What the words of these screens mean, a line each."
    ),
    Command(
        name="command", run=type_command, keys=("colon",), group="tool", footer="command", help="Type a command."
    ),
    Command(
        name="palette", run=palette, keys=("ctrl+p",), group="tool", help="Find a command by a part of its name."
    ),
    Command(
        name="quit", run=close_or_leave, keys=("q",), group="tool", footer="quit",
        help="Leave; polling and recording end. In the help: close it.",
    ),
    Command(name="leave", run=leave, keys=("ctrl+c",), group="tool", help="Leave, whatever is open or asked."),
)  # fmt: skip
