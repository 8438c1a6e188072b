"""What the demo says while it goes on: a caption on the dashboard, or lines where nobody looks at one."""

import time
from collections.abc import Callable

from capacity.loadgen.messages import LoadProgress
from capacity.loadtest.conclusion import reasons_against
from capacity.loadtest.level_request import LevelRequest
from capacity.reports.sweep_tables import verdict_text
from whisper_ops.formatting import counted
from whisper_ops.history import LevelRecord
from whisper_ops.snapshot import Snapshot

Show = Callable[[str], None]


class DemoNarration:
    """A `Watcher` of a load test: every sentence goes to `say`, what is going on this second to `caption`."""

    def __init__(
        self, caption: Show, say: Show, *, hint: str = "", prefix: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`hint` ends every caption but a title's, `prefix` begins it."""
        self._caption = caption
        self.say = say
        self._hint = hint
        self._prefix = prefix
        self._clock = clock
        self.title = ""
        """What a level is called where its number says less."""
        self._label = ""
        self._ends_at = 0.0

    def expect(self, seconds: float) -> None:
        """The whole run has a deadline of its own."""

    def begin(self, ask: LevelRequest, number: int, left: int | None, seconds: float) -> None:
        """A level begins."""
        of = "" if left is None else f" of {max(number, number + left - 1)}"
        self.now(self.title or f"level {number}{of}: {counted(ask.streams, 'caller')}", seconds)
        self.say(f"{self._label}, {seconds:.0f} s")

    def pause(self, what: str, at_most_seconds: float) -> None:  # noqa: ARG002  # mostly it takes far less
        """Something that is not measured."""
        self.now(what)

    def now(self, label: str, seconds: float = 0.0) -> None:
        """What goes on from now, and for how long where that is known."""
        self._label, self._ends_at = label, self._clock() + seconds
        self.tick()

    def tick(self) -> None:
        """A second later: the caption counts down."""
        left = self._ends_at - self._clock()
        # A title is long, and the hint was there before: with both, 80 columns would cut the end off.
        parts = [self._label, f"{left:.0f} s left" if left >= 0.5 else "", "" if self.title else self._hint]
        self._caption(f"{self._prefix}{', '.join(filter(None, parts))}")

    def progress(self, progress: LoadProgress, snapshot: Snapshot | None) -> None:  # noqa: ARG002  # the screen shows them
        """A second later."""
        self.tick()

    def end(self, level: LevelRecord) -> None:
        """A level was judged."""
        if self.title:
            return
        stable = "—" if level.stable_p95_seconds is None else f"{level.stable_p95_seconds:.2f} s"
        callers = counted(level.streams, "caller")
        self.say(f"  {callers}: {verdict_text(level)}, p95 of a stable word {stable}{reasons_against(level)}")

    def note(self, sentence: str) -> None:
        """Something worth knowing."""
        self.say(f"  {sentence}")
