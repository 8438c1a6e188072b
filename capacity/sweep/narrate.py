"""How a sweep looks while it runs: a live table on stderr, or plain lines where nobody watches."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from capacity.load.orders import Progress
from capacity.sweep.plans import Ask
from capacity.sweep.tables import level_table, verdict_text
from whisper_ops.formatting import counted, planned_time
from whisper_ops.history import LevelRecord
from whisper_ops.snapshot import Snapshot

_PURPOSES = {
    "baseline": "one stream first, as the baseline for the word error rate",
    "leap": "looking for a level that fails",
    "bisect": "closing in",
    "hold": "held until its answer is known",
    "soak": "soak",
}


class Narrator:
    """A `capacity.sweep.run.Watcher` for people. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._levels: list[LevelRecord] = []
        self._notes: list[str] = []
        self._now = ""
        self._label = ""
        self._ends_at = 0.0
        self._left = ""
        self._live = Live(console=console, refresh_per_second=2, transient=True, get_renderable=self._picture)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def begin(self, ask: Ask, number: int, left: int | None, seconds: float) -> None:
        """A level begins."""
        streams = counted(ask.streams, "stream")
        of = "" if left is None else f" of {'up to ' if ask.purpose in _SEARCHING else ''}{number + left - 1}"
        purpose = f" ({_PURPOSES.get(ask.purpose, ask.purpose)})" if ask.purpose else ""
        self._label = f"level {number}{of}: {streams}{purpose}"
        self._now = "connecting"
        self._ends_at = time.monotonic() + seconds
        self._left = "left in this level" + (" at most" if ask.long else "")
        # How long a search takes depends on what it finds.
        all_of_it = seconds * (left or 1) if ask.purpose not in _SEARCHING else seconds
        total = f"; at most {planned_time(all_of_it)} in all" if left and left > 1 and all_of_it > seconds else ""
        self._say(f"{self._label}, {'at most' if ask.long else 'about'} {planned_time(seconds)}{total}")

    def pause(self, what: str, at_most_seconds: float) -> None:
        """Something that is not measured."""
        self._label, self._now = what, "connecting"
        self._ends_at = time.monotonic() + at_most_seconds
        self._left = "left at most"
        self._say(f"{what}, at most {at_most_seconds:.0f} s")

    def progress(self, progress: Progress, snapshot: Snapshot | None) -> None:
        """A second later."""
        parts = [f"{progress.live} speaking"]
        if progress.behind_p50_seconds is not None:
            parts.append(f"text about {progress.behind_p50_seconds:.1f} s behind")
        if progress.failed:
            parts.append(f"{progress.failed} ended badly")
        lag = snapshot.figures.lag_p95_seconds if snapshot is not None and snapshot.figures is not None else None
        if lag is not None:
            parts.append(f"server lag p95 {lag:.2f} s")
        self._now = " · ".join(parts)

    def end(self, level: LevelRecord) -> None:
        """A level was judged."""
        self._levels.append(level)
        stable = "—" if level.stable_p95_seconds is None else f"{level.stable_p95_seconds:.2f} s"
        why = f"; {level.reason}" if level.reason else ""
        self._say(f"  {level.streams}: {verdict_text(level)}; stable p95 {stable}{why}")

    def note(self, sentence: str) -> None:
        """Something worth knowing."""
        self._notes.append(sentence)
        self._say(sentence)

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)

    def _picture(self) -> Group:
        left = max(0.0, self._ends_at - time.monotonic())
        # A soak has hundreds of blocks, and the terminal a few dozen lines.
        shown = self._levels[-max(3, self._console.height - _OTHER_LINES) :]
        parts = [level_table(shown, self._console.width)] if shown else []
        notes = [Text(note, style="dim") for note in self._notes[-2:]]
        return Group(*parts, *notes, Text(f"{self._label} · {self._now} · {left:.0f} s {self._left}"))


_OTHER_LINES = 12
_SEARCHING = {"leap", "bisect", "hold"}
