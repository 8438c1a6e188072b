"""Reading the terminal so that `esc` is felt at once.

A lone escape may be the beginning of an arrow key, so it is only certain after a pause. Textual looks for the end of
that pause every 100 ms; here it is looked for as long as an escape waits. This builds on internals of the exactly
pinned textual, as `tight` does.
"""

import os
import selectors
from codecs import getincrementaldecoder
from collections.abc import Iterable

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

_LOOK_SECONDS = 0.1
"""How often the end of the program is noticed."""
_ESCAPE_SECONDS = 0.01
"""How often the end of an escape is looked for; how long it may last is textual's ESCDELAY."""


class QuickDriver(LinuxDriver):
    """A driver of Unix terminals that looks up quickly while an escape is open."""

    def run_input_thread(self) -> None:
        """Read what is typed until the program ends."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                waiting = parser._timeout_time is not None  # noqa: SLF001  # it offers no other way to know
                if selector.select(_ESCAPE_SECONDS if waiting else _LOOK_SECONDS):
                    typed = self._typed()
                    if not typed:  # the terminal was closed: there is nothing to read any more
                        return
                    self._take(parser.feed(decode(typed)))
                self._take(parser.tick())

    def _typed(self) -> bytes:
        try:
            return os.read(self.fileno, 4096)
        except OSError:
            return b""

    def _take(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.process_message(message)
