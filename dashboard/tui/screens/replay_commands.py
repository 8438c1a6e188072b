"""The commands of replay: to a moment of the past, on and back in it, from alert to alert, and home again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dashboard import time_input
from dashboard.replay.feed import Feed
from dashboard.replay.replay_feed import ReplayFeed
from dashboard.tui.screens.chart_pane import ChartView
from dashboard.tui.screens.prompt import PromptQuestion
from whisper_ops.errors import UserError

_AN_HOUR = "1 h ago"
"""Where a replay begins that is asked for without a moment."""


class ReplayApp(Protocol):
    """What these commands need of the app."""

    feed: Feed
    present: Feed
    history: Path | None
    looking: ChartView

    def show(self, feed: Feed) -> None:
        """Show another feed."""

    def draw(self) -> None:
        """Draw the moment."""

    def tell(self, sentence: str) -> None:
        """Say something in the footer."""

    def refresh_feed(self) -> object:
        """Read on, beside the event loop."""

    def open_replay(self, path: Path, at: float) -> object:
        """Show a moment of the past as soon as it was read."""

    def ask(self, question: PromptQuestion) -> None:
        """Ask for a line of text."""


class Past:
    """Each `do_NAME` is a command of the registry."""

    def __init__(self, app: ReplayApp) -> None:
        self._app = app

    def do_replay(self, text: str) -> None:
        """Show the past from a moment on; without one, ask for it."""
        if self._app.history is None:
            raise UserError("there is no history to replay")
        if text:
            self._replay_from(time_input.parse(text, time.time()))
            return
        start = (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self._app.looking.cursor))
            if self._app.looking.cursor
            else ""
        )
        # All of it is seen in 60 columns; whoever types what cannot be read is shown more examples.
        hint = "1 h ago   (or 14:03, yesterday 14:00)"
        self._app.ask(PromptQuestion("replay from", self._moment, self._replay_or_hour, hint=hint, text=start))

    def do_live(self, _: str) -> None:
        """Back to the present."""
        if isinstance(self._app.feed, ReplayFeed):
            if self._app.present is self._app.feed:
                raise UserError("nothing is polled here: the dashboard was started with --replay and no server")
            self._app.feed.close()
        self._app.show(self._app.present)

    def do_forward(self, text: str) -> None:
        """On in time."""
        self._step(text, 1)

    def do_rewind(self, text: str) -> None:
        """Back in time."""
        self._step(text, -1)

    def do_next(self, _: str) -> None:
        """To the next alert."""
        self._jump(lambda at, now: at > now + 1, min, "there is no later alert")

    def do_previous(self, _: str) -> None:
        """To the alert before."""
        self._jump(lambda at, now: at < now - 1, max, "there is no earlier alert")

    def _moment(self, text: str) -> float:
        return time_input.parse(text or _AN_HOUR, time.time())

    def _replay_or_hour(self, text: str) -> None:
        self.do_replay(text or _AN_HOUR)

    def _replay_from(self, at: float) -> None:
        assert self._app.history is not None
        if isinstance(self._app.feed, ReplayFeed):
            self._seek(at, asked=True)
            return
        self._app.open_replay(self._app.history, at)

    def _past(self) -> ReplayFeed:
        if not isinstance(self._app.feed, ReplayFeed):
            raise UserError("this works on the past: R starts a replay")
        return self._app.feed

    def play(self, steps: int) -> None:
        """Replay faster, or slower for negative steps."""
        replay = self._past()
        replay.faster(steps)
        self._app.tell(f"replay at {replay.speed:g}x")
        self._app.draw()

    def _step(self, text: str, direction: int) -> None:
        self._seek(self._past().at + direction * (time_input.length(text) if text else 10.0))

    def _jump(self, fits: Callable[[float, float], bool], choose: Callable[[list[float]], float], none: str) -> None:
        replay = self._past()
        found = [at for at in replay.alert_moments() if fits(at, replay.at)]
        if not found:
            raise UserError(none)
        self._seek(choose(found))

    def _seek(self, at: float, *, asked: bool = False) -> None:
        self._past().seek(at, asked=asked)
        self._app.refresh_feed()
