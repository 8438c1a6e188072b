"""The screen of a command that runs beside the dashboard: a sweep to watch, or a check."""

from typing import ClassVar

from dashboard import figure_text as f
from dashboard.background_command import BackgroundCommand
from dashboard.tui.pages.gauges import bar
from dashboard.tui.pages.styled_lines import BLANK, Line, Page, TextSpan, cut, folded, line
from dashboard.tui.screens.pane import Pane
from dashboard.world import World
from whisper_ops.untrusted_text import printable

_BAR_CELLS = 60


class RunningPane(Pane):
    """What a command prints, as it prints it. Leaving the screen leaves the command running."""

    PAGE: ClassVar[str] = "running"

    def __init__(self, beside: BackgroundCommand) -> None:
        self.beside = beside

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all panes
        """Its output, the newest line last."""
        # Tables fit, as they are told the width; sentences may be longer.
        shown = [part for text in self.beside.said[-height:] for part in folded(line(TextSpan(f" {text}")), width)]
        return Page(
            crumbs=("fleet", self.beside.title),
            head=(*folded(self._state(), width), *self._bar(width), BLANK),
            body=tuple(shown[-max(1, height - 5) :]),
        )

    def do_stop(self, _: str) -> None:
        """End the command as Ctrl-C would: it keeps what it has measured."""
        self.beside.stop()

    def _bar(self, width: int) -> tuple[Line, ...]:
        """How far it is, where it says so: what is being done, a bar, and the time left."""
        progress = self.beside.progress
        if progress is None:
            return ()
        left = f"  {f.percent(progress.done_ratio)}, about {f.duration(progress.left_seconds)} left"
        cells = bar(progress.done_ratio, max(10, min(_BAR_CELLS, width - len(left) - 2)))
        return (
            Line(cut((TextSpan(f" {printable(progress.doing)}"),), width)),
            Line((TextSpan(" "), *cells, TextSpan(left, "dim"))),
        )

    def _state(self) -> Line:
        lasted = f.duration(self.beside.seconds)
        if self.beside.code is None:
            what = "x stops it; esc leaves it running, 5 comes back to it"
            return line(TextSpan(" ◔ running ", "note"), TextSpan(f"for {lasted}   {what}", "dim"))
        if self.beside.code == 0:
            verdict = f": {self.beside.verdict}" if self.beside.verdict else ""
            return line(TextSpan(f" ● done{verdict}", "ok"), TextSpan(f" after {lasted}", "dim"))
        how = f" (exit code {self.beside.code}, after {lasted})"
        return line(TextSpan(f" ▲ {self.beside.outcome}", "warn"), TextSpan(how, "dim"))
