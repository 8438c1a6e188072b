"""Commands of replay: to a moment of the past, on and back in it, from alert to alert, and back to the present."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dashboard import time_input
from dashboard.tui.pages.command import Command
from dashboard.tui.screens.prompt_question import PromptQuestion
from whisper_ops.errors import UserError

if TYPE_CHECKING:
    from dashboard.tui.screens.app_context import AppContext

_DEFAULT_START = "1 h ago"
_STEP_SECONDS = 10.0


def replay(context: "AppContext", moment: str) -> None:
    if context.history is None:
        raise UserError("there is no history to replay")
    if moment:
        _show(context, context.history, time_input.parse(moment, time.time()))
        return
    cursor = context.chart_view.cursor
    context.ask(
        PromptQuestion(
            "replay from",
            lambda answer: replay(context, answer or _DEFAULT_START),
            lambda answer: time_input.parse(answer or _DEFAULT_START, time.time()),
            # All of it is seen in 60 columns; an answer that cannot be read is refused with more examples.
            hint="1 h ago   (or 14:03, yesterday 14:00)",
            text="" if cursor is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(cursor)),
        )
    )


def _show(context: "AppContext", history: Path, at: float) -> None:
    if context.feeds.is_replay:
        _seek(context, at, asked=True)
        return

    def read() -> None:
        try:
            opened = context.feeds.open_replay(history, at)
        except UserError as error:
            context.app.call_from_thread(context.tell, str(error))
            return
        context.app.call_from_thread(context.show_feed, opened)
        context.tell_jump(opened)

    context.app.run_worker(read, thread=True, group="replay", exclusive=True, exit_on_error=False)


def live(context: "AppContext", _: str) -> None:
    feeds = context.feeds
    if feeds.is_replay:
        if feeds.present is feeds.shown:
            raise UserError("nothing is polled here: the dashboard was started with --replay and no server")
        feeds.shown.close()
    context.show_feed(feeds.present)


def forward(context: "AppContext", length: str) -> None:
    _step(context, length, 1)


def rewind(context: "AppContext", length: str) -> None:
    _step(context, length, -1)


def next_alert(context: "AppContext", _: str) -> None:
    _jump(context, lambda at, now: at > now + 1, min, "there is no later alert")


def previous_alert(context: "AppContext", _: str) -> None:
    _jump(context, lambda at, now: at < now - 1, max, "there is no earlier alert")


def _step(context: "AppContext", length: str, direction: int) -> None:
    now = context.feeds.replay.at
    _seek(context, now + direction * (time_input.length(length) if length else _STEP_SECONDS))


def _jump(
    context: "AppContext",
    fits: Callable[[float, float], bool],
    nearest: Callable[[list[float]], float],
    none: str,
) -> None:
    feed = context.feeds.replay
    beginnings = [at for at in feed.alert_moments() if fits(at, feed.at)]
    if not beginnings:
        raise UserError(none)
    _seek(context, nearest(beginnings))


def _seek(context: "AppContext", at: float, *, asked: bool = False) -> None:
    context.feeds.replay.seek(at, asked=asked)
    context.refresh_feed()


COMMANDS = (
    Command(
        name="replay", run=replay, keys=("R",), group="replay", argument="[yesterday 14:00]", footer="replay",
        help="Show the past on these screens (enter: an hour ago); recording goes on meanwhile.",
    ),
    Command(
        name="live", run=live, keys=("L",), group="replay", replaying=True, footer="live", help="Back to the present."
    ),
    Command(
        name="forward", run=forward, keys=("greater_than_sign",), group="replay", replaying=True, argument="[10 s]",
        footer="step", help="Forward by ten seconds, or by the time given.",
    ),
    Command(
        name="rewind", run=rewind, keys=("less_than_sign",), group="replay", replaying=True, argument="[10 s]",
        help="Back by ten seconds, or by the time given.",
    ),
    Command(
        name="next", run=next_alert, keys=("n",), group="replay", replaying=True, footer="next alert",
        help="To the beginning of the next alert.",
    ),
    Command(
        name="previous", run=previous_alert, keys=("N",), group="replay", replaying=True,
        help="To the beginning of the alert before.",
    ),
)  # fmt: skip
