"""Where the demo is seen: the dashboard with a caption, or lines on stderr where there is no terminal."""

from collections.abc import Sequence
from pathlib import Path

from whisper_ops.child_processes import Child, Children
from whisper_ops.console import CAPTION_VARIABLE, say


class DemoScreen:
    """The dashboard while it is open; lines before and after it, and once somebody has left it with `q`."""

    def __init__(self, children: Children, folder: Path, *, wanted: bool) -> None:
        """`wanted`: whether there is a terminal for it. `folder` holds the caption."""
        self._children = children
        self._file = folder / "caption"
        self._wanted = wanted
        self._dashboard: Child | None = None

    @property
    def showing(self) -> bool:
        """Whether the terminal is the dashboard's."""
        return self._dashboard is not None and self._dashboard.running

    def open(self, servers: Sequence[str], history: Path) -> None:
        """Show these servers."""
        if self._wanted:
            self._dashboard = self._children.start(
                *("dash", *servers, "--history", str(history)),
                terminal=True,
                environment={CAPTION_VARIABLE: str(self._file)},
            )

    def close(self) -> None:
        """Give the terminal back. A dashboard that was left is not opened again."""
        if self._dashboard is not None:
            self._wanted = self._dashboard.running
            self._dashboard.stop()
        self._file.unlink(missing_ok=True)

    def caption(self, text: str) -> None:
        """What is going on this second."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        fresh.replace(self._file)

    def say(self, line: str) -> None:
        """A line, where it would not be written over the dashboard."""
        if not self.showing:
            say(line)
