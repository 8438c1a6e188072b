"""Which feed the screens show: the one that the dashboard was started with, or a replay opened over it."""

from pathlib import Path

import msgspec

from dashboard.replay.feed import Feed, LiveFeed
from dashboard.replay.replay_feed import ReplayFeed
from dashboard.world import World
from whisper_ops.errors import UserError


class ShownFeed:
    """The feed on screen, running or held."""

    def __init__(self, feed: Feed) -> None:
        self.present = feed
        """What the dashboard was started with; polled and recorded also while a replay is shown."""
        self.shown = feed
        self._held: World | None = None
        """The world of the moment in which the picture was paused."""

    def world(self) -> World:
        """The world to draw."""
        return self._held or self.shown.world()

    def show(self, feed: Feed) -> None:
        """Show another feed, running."""
        self.shown, self._held = feed, None

    def toggle_pause(self) -> None:
        """Hold the picture or let it go on; a replay stops or plays."""
        if isinstance(self.shown, ReplayFeed):
            self.shown.playing = not self.shown.playing
        else:
            self._held = None if self._held else msgspec.structs.replace(self.shown.world(), mode="paused")

    @property
    def is_replay(self) -> bool:
        """Whether a moment of the past is shown."""
        return isinstance(self.shown, ReplayFeed)

    @property
    def live(self) -> LiveFeed:
        """The shown feed where it is polled now; UserError where it is not."""
        if not isinstance(self.shown, LiveFeed):
            raise UserError("nothing is polled here: this is no live view")
        return self.shown

    @property
    def replay(self) -> ReplayFeed:
        """The shown feed where it is a replay; UserError where it is not."""
        if not isinstance(self.shown, ReplayFeed):
            raise UserError("this works in a replay: R starts one")
        return self.shown

    def open_replay(self, history: Path, at: float) -> ReplayFeed:
        """A replay from a moment on (UTC epoch seconds), under the alert rules of the present; blocks."""
        rules = self.present.rules if isinstance(self.present, LiveFeed) else None
        return ReplayFeed(history, at, rules=rules)

    def note(self, kind: str, detail: str, server: str | None = None) -> None:
        """Add something that happened in this dashboard to the events, which the history keeps."""
        if isinstance(self.present, LiveFeed):
            self.present.note(kind, detail, server)
