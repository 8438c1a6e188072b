"""The frame of the dashboard before anything heavy is loaded: what it will show, with every server still waiting.

To import the screens and the pollers takes most of a second. Until then a person sees what was asked for, not an empty
terminal. Imports neither textual nor httpx.
"""

import shutil
import sys
import termios
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from dashboard.tui.commands.registry import COMMANDS
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.tui.pages.frame import footer_line, title_line
from dashboard.tui.pages.styled_lines import Line
from dashboard.world import ServerView, World
from whisper_ops.server_names import default_name
from whisper_ops.untrusted_text import one_line

_LOCAL = 3
"""Where termios keeps the local modes."""
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J", "\x1b[?25h\x1b[?1049l"


class FirstFrame:
    """The terminal while the frame is on it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._on = False
        self._before: list[Any] | None = None
        """The terminal's own modes, to be put back."""

    def paint(self, servers: Iterable[str]) -> None:
        """Show the frame, on a screen of its own. What is typed meanwhile waits for the screens, unseen."""
        self._on = True
        with suppress(termios.error):
            self._before = termios.tcgetattr(self._out.fileno())
            quiet = [*self._before]
            quiet[_LOCAL] &= ~(termios.ECHO | termios.ICANON)
            termios.tcsetattr(self._out.fileno(), termios.TCSANOW, quiet)
        self._out.write(_ENTER + "\r\n".join(lines(servers, *shutil.get_terminal_size())))
        self._out.flush()

    def hand_over(self) -> None:
        """The screens take the terminal from here on, and give it back themselves."""
        self._on = False
        self._restore_keys()

    def remove(self) -> None:
        """Leave the terminal as it was before, if nobody took it over: there is something to read there."""
        if self._on:
            self._out.write(_LEAVE)
            self._out.flush()
            self._on = False
            self._restore_keys()

    def _restore_keys(self) -> None:
        if self._before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._out.fileno(), termios.TCSANOW, self._before)
            self._before = None


@contextmanager
def first_frame(servers: Sequence[str]) -> Iterator[FirstFrame]:
    """A frame with these servers, as they were named on the command line; gone at the end unless it was handed over."""
    frame = FirstFrame(sys.stdout)
    try:
        frame.paint(servers)
        yield frame
    finally:
        frame.remove()


def lines(servers: Iterable[str], columns: int, rows: int) -> list[str]:
    """The frame as plain text, a line a row of the terminal."""
    waiting = tuple(ServerView(name=_name(text), newest=None, answer=None) for text in servers)
    world = World(now=time.time(), servers=waiting)
    page = fleet_page(world, FleetView(), columns - 1, rows - 2)
    shown = [*page.head, *(page.body if waiting else ())][: rows - 2]
    filled = [*shown, *[Line()] * (rows - 2 - len(shown))]
    whole = (title_line(world, page.crumbs, columns), *filled, footer_line(COMMANDS, "fleet", columns))
    return [one_line(line.text)[:columns].rstrip() for line in whole]


def _name(argument: str) -> str:
    """What a server that is named so will be called."""
    name, sign, _ = argument.partition("=")
    return name if sign and not set(name) & set("/+:") else default_name(argument.rpartition("+")[2])
