"""How a sweep looks while it runs: a picture that grows and a bar on stderr, or plain lines without a terminal."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from capacity.loadgen.messages import LoadProgress
from capacity.loadtest.level_request import LevelRequest
from capacity.reports.sweep_tables import verdict_text
from capacity.reports.text_chart import latency_picture
from whisper_ops.formatting import counted, duration, planned_time
from whisper_ops.history import LevelRecord
from whisper_ops.progress import Progress as Told
from whisper_ops.progress import tell
from whisper_ops.snapshot import Snapshot

_PURPOSES = {
    "baseline": "one stream first, as the baseline for the word error rate",
    "leap": "looking for a level that fails",
    "bisect": "closing in",
    "hold": "held until its answer is known",
    "soak": "soak",
    "within": "chosen by those before",
}
_SEARCHING = {"leap", "bisect", "hold"}
_OTHER_LINES = 7
"""Of the screen: what is no level."""
_LONGEST_BAR = 40


class SweepProgress:
    """A `capacity.loadtest.observer.SweepObserver` for people. Use as a context manager."""

    def __init__(self, console: Console, objective: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._objective = objective
        self._clock = clock
        self._levels: list[LevelRecord] = []
        self._notes: list[str] = []
        self._now = ""
        self._label = ""
        self._began = clock()
        self._whole_ends_at = self._part_ends_at = self._began
        self._live = Live(console=console, refresh_per_second=2, transient=True, get_renderable=self.picture)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if self._console.is_terminal and len(self._levels) > 1:
            self._console.print(*self._latencies(), sep="\n")

    @property
    def left(self) -> float:
        """Seconds until the sweep is over, about."""
        return max(self._whole_ends_at, self._part_ends_at) - self._clock()

    def expect(self, seconds: float) -> None:
        """How long it goes on from now."""
        self._whole_ends_at = self._clock() + seconds

    def begin(self, ask: LevelRequest, number: int, left: int | None, seconds: float) -> None:
        streams = counted(ask.streams, "stream")
        about = {"within": "about "}.get(ask.purpose, "up to " if ask.purpose in _SEARCHING else "")
        of = "" if left is None else f" of {about}{max(number, number + left - 1)}"
        purpose = f" ({_PURPOSES.get(ask.purpose, ask.purpose)})" if ask.purpose else ""
        self._label = f"level {number}{of}: {streams}{purpose}"
        self._part(seconds)
        adaptive = ask.kind == "adaptive"
        lasting = f"{'at most' if adaptive else 'about'} {planned_time(seconds)}"
        # A level that is held takes as long as it takes, mostly far less than at most.
        more = f"; about {planned_time(self.left)} in all" if self.left > seconds + 1 and not adaptive else ""
        self._say(f"{self._label}, {lasting}{more}")

    def pause(self, what: str, at_most_seconds: float) -> None:
        """Something that is not measured."""
        self._label = what
        self._part(0.0)
        self._say(f"{what} (up to {at_most_seconds:.0f} s)")

    def progress(self, progress: LoadProgress, snapshot: Snapshot | None) -> None:
        """Update the line of what happens now; called once a second."""
        parts = [f"{progress.live} speaking"]
        if progress.behind_p50_seconds is not None:
            parts.append(f"text {progress.behind_p50_seconds:.1f} s behind")
        if progress.failed:
            parts.append(f"{progress.failed} ended badly")
        lag = snapshot.figures.lag_p95_seconds if snapshot is not None and snapshot.figures is not None else None
        if lag is not None:
            parts.append(f"lag p95 {lag:.2f} s")
        self._now = " · ".join(parts)
        self._tell()

    def end(self, level: LevelRecord) -> None:
        self._levels.append(level)
        stable = "—" if level.stable_p95_seconds is None else f"{level.stable_p95_seconds:.2f} s"
        why = f"; {level.reason}" if level.reason else ""
        self._say(f"  {level.streams}: {verdict_text(level)}; stable p95 {stable}{why}")

    def note(self, sentence: str) -> None:
        self._notes.append(sentence)
        self._say(sentence)

    def picture(self) -> Group:
        """What a terminal shows now."""
        left = f"{duration(max(self.left, 1))} left"
        in_part = self._part_ends_at - self._clock()
        # At the end of a part it is said of the whole alone.
        if 1 <= in_part < self.left - 1:
            left += f", {duration(in_part)} in this level"
        notes = [Text(note, style="dim") for note in self._notes[-2:]]
        refused = [Text(told, style="dim") for told in self._refusals()]
        bar = Table.grid(padding=(0, 1))
        bar.add_row(self._bar(), left)
        lines: list[RenderableType] = [*self._latencies(), *refused, *notes]
        return Group(*lines, Text(f"{self._label} · {self._now}"), bar)

    def _tell(self) -> None:
        """Let a program that shows us on its own screen draw the same bar."""
        passed, whole = self._passed()
        left = max(0.0, self.left)
        tell(Told(doing=f"{self._label} · {self._now}", done_ratio=passed / whole, left_seconds=left))

    def _passed(self) -> tuple[float, float]:
        """Seconds that are over, and those of the whole, about."""
        passed = self._clock() - self._began
        whole = max(passed + self.left, 1e-9)
        return min(passed, whole), whole

    def _bar(self) -> ProgressBar:
        passed, whole = self._passed()
        width = min(_LONGEST_BAR, max(10, self._console.width // 2))
        return ProgressBar(total=whole, completed=passed, width=width)

    def _latencies(self) -> list[Text]:
        # A soak has hundreds of blocks, and the terminal a few dozen lines.
        rows = max(3, self._console.height - _OTHER_LINES)
        return latency_picture(self._levels, self._objective, self._console.width, rows)

    def _refusals(self) -> list[str]:
        """Of the last level: what the server told those that it sent away."""
        last = self._levels[-1] if self._levels else None
        if last is None or not last.refused:
            return []
        return [f"{last.streams}: {last.refused} refused; {last.reason}"]

    def _part(self, seconds: float) -> None:
        self._now = "connecting"
        self._part_ends_at = self._clock() + seconds
        self._tell()

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True)
