"""How a sweep looks while it runs: a live table on stderr, or plain lines where nobody watches."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from capacity.load.orders import Progress
from capacity.sweep.tables import level_table, verdict_text
from whisper_ops.history import LevelRecord
from whisper_ops.snapshot import Snapshot


class Narrator:
    """A `capacity.sweep.run.Watcher` for people. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._levels: list[LevelRecord] = []
        self._now = ""
        self._label = ""
        self._ends_at = 0.0
        self._live = Live(console=console, refresh_per_second=2, transient=True, get_renderable=self._picture)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def begin(self, streams: int, number: int, of: int | None, seconds: float) -> None:
        """A level begins."""
        self._label = f"level {number}{f' of {of}' if of else ''}: {streams} {'stream' if streams == 1 else 'streams'}"
        self._now = "connecting"
        self._ends_at = time.monotonic() + seconds
        if not self._console.is_terminal:
            self._console.print(f"{self._label}, about {seconds:.0f} s", soft_wrap=True)

    def progress(self, progress: Progress, snapshot: Snapshot | None) -> None:
        """A second later."""
        parts = [f"{progress.live} speaking", f"{progress.words_shown} texts shown"]
        if progress.failed:
            parts.append(f"{progress.failed} ended badly")
        lag = snapshot.figures.lag_p95_seconds if snapshot is not None and snapshot.figures is not None else None
        if lag is not None:
            parts.append(f"server lag p95 {lag:.2f} s")
        self._now = " · ".join(parts)

    def end(self, level: LevelRecord) -> None:
        """A level was judged."""
        self._levels.append(level)
        if not self._console.is_terminal:
            stable = "—" if level.stable_p95_seconds is None else f"{level.stable_p95_seconds:.2f} s"
            self._console.print(
                f"  {verdict_text(level)}; stable p95 {stable}{'; ' + level.reason if level.reason else ''}",
                soft_wrap=True,
            )

    def _picture(self) -> Group | Table | Text:
        left = max(0.0, self._ends_at - time.monotonic())
        line = Text(f"{self._label} · {self._now} · {left:.0f} s left in this level")
        return Group(level_table(self._levels), line) if self._levels else line
