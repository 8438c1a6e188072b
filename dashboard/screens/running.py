"""A command that runs beside the dashboard, and what it says: a sweep to watch, or a check."""

import asyncio
import contextlib
import signal
import time
from typing import ClassVar

from textual import work

from dashboard.screens.base import PageScreen
from dashboard.view import figures as f
from dashboard.view.lines import BLANK, Line, Page, Span, cut, line
from dashboard.view.world import World

_LINES_KEPT = 2000
_GRACE_SECONDS = 10.0


class RunningScreen(PageScreen):
    """What a command prints, as it prints it. Leaving the screen leaves the command running; `stop` ends it."""

    PAGE: ClassVar[str] = "running"

    def __init__(self, title: str, command: list[str]) -> None:
        super().__init__()
        self._title = title
        self._command = command
        self._said: list[str] = []
        self._began = time.monotonic()
        self._code: int | None = None
        self._process: asyncio.subprocess.Process | None = None

    def on_mount(self) -> None:
        """Start it."""
        self.run_command()

    def page(self, world: World, width: int, height: int) -> Page:  # noqa: ARG002  # the seam of all screens
        """Its output, the newest line last."""
        shown = self._said[-max(1, height - 3) :]
        return Page(
            crumbs=("fleet", self._title),
            head=(self._state(), BLANK),
            body=tuple(Line(cut((Span(" "), Span(text)), width)) for text in shown),
        )

    @work(exclusive=True, group="command", exit_on_error=False)
    async def run_command(self) -> None:
        """Run it and keep what it says."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert self._process.stdout is not None
            async for raw in self._process.stdout:
                self._said.append(raw.decode("utf-8", "replace").rstrip("\r\n").replace("\t", "  "))
                del self._said[:-_LINES_KEPT]
            self._code = await self._process.wait()
        finally:
            await self._end()
        self.redraw()

    def do_stop(self, _: str) -> None:
        """End the command as Ctrl-C would: it keeps what it has measured."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)

    async def _end(self) -> None:
        """Leave nothing running behind a dashboard that ends."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
            return
        process.kill()

    def _state(self) -> Line:
        if self._code is None:
            return line(
                Span(" ◔ running ", "note"),
                Span(f"for {f.duration(time.monotonic() - self._began)}   x stops it, esc leaves it running", "dim"),
            )
        word, style = ("● done", "ok") if self._code == 0 else (f"▲ ended with exit code {self._code}", "warn")
        return line(Span(f" {word}", style))  # type: ignore[arg-type]  # one of two literals
