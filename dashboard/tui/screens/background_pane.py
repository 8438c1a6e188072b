"""The screen of a command that runs in the background: a sweep to watch, or a check."""

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

    def __init__(self, command: BackgroundCommand) -> None:
        self._command = command

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all panes
        # The newest line is the last. Tables fit, as they are told the width; sentences may be longer.
        shown = [part for text in self._command.output[-height:] for part in folded(line(TextSpan(f" {text}")), width)]
        return Page(
            crumbs=("fleet", self._command.title),
            head=(*folded(self._state(), width), *self._bar(width), BLANK),
            body=tuple(shown[-max(1, height - 5) :]),
        )

    def _bar(self, width: int) -> tuple[Line, ...]:
        """How far it is, where it says so: what is being done, a bar, and the time left."""
        progress = self._command.progress
        if progress is None:
            return ()
        left = f"  {f.percent(progress.done_ratio)}, about {f.duration(progress.left_seconds)} left"
        cells = bar(progress.done_ratio, max(10, min(_BAR_CELLS, width - len(left) - 2)))
        return (
            Line(cut((TextSpan(f" {printable(progress.doing)}"),), width)),
            Line((TextSpan(" "), *cells, TextSpan(left, "dim"))),
        )

    def _state(self) -> Line:
        lasted = f.duration(self._command.seconds)
        if self._command.code is None:
            what = "x stops it; esc leaves it running, 5 comes back to it"
            return line(TextSpan(" ◔ running ", "note"), TextSpan(f"for {lasted}   {what}", "dim"))
        if self._command.code == 0:
            verdict = f": {self._command.verdict}" if self._command.verdict else ""
            return line(TextSpan(f" ● done{verdict}", "ok"), TextSpan(f" after {lasted}", "dim"))
        how = f" (exit code {self._command.code}, after {lasted})"
        return line(TextSpan(f" ▲ {self._command.outcome}", "warn"), TextSpan(how, "dim"))
