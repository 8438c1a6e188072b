"""The fleet screen."""

from typing import ClassVar

import msgspec

from dashboard.tui.pages.filter_fields import FACTS, fact_named
from dashboard.tui.pages.filters import parse
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.tui.pages.styled_lines import Page
from dashboard.tui.screens.pane import Pane
from dashboard.world import World
from whisper_ops.errors import UserError

_SORTS = ("state", "server", "slots", "lag", "rejects", "busy", "memory", "temp")


class FleetPane(Pane):
    """A row a server."""

    PAGE: ClassVar[str] = "fleet"

    def __init__(self, view: FleetView) -> None:
        self.view = view

    def page(self, world: World, width: int, height: int) -> Page:
        """The fleet."""
        return fleet_page(world, self.view, width, height)

    def set_filter(self, text: str) -> None:
        """Show only what meets a filter; UserError when it cannot be read."""
        parse(text)
        self._look(filter=text.strip())

    def do_sort(self, name: str) -> None:
        """Sort by a fact, or by the next column."""
        if not name:
            name = _SORTS[(_SORTS.index(self.view.sort) + 1) % len(_SORTS)] if self.view.sort in _SORTS else "state"
        name = fact_named(name)
        if name not in FACTS:
            raise UserError(f"there is nothing called {name!r} to sort by; there is {', '.join(FACTS)}")
        self._look(sort=name)

    def do_fold(self, _: str) -> None:
        """Show or hide the GPUs of the server under the cursor."""
        key = self.stage.sheet.cursor
        if key is not None:
            self._look(toggled=self.view.toggled ^ {key.rsplit(" ", 1)[1]})

    def do_unfold(self, _: str) -> None:
        """Show or hide the GPUs of all servers."""
        shown = any(key.startswith("gpu ") for key in self.stage.sheet.keys)
        self._look(expand="closed" if shown else "open", toggled=frozenset())

    def do_back(self, _: str) -> None:
        """Clear the filter."""
        if self.view.filter:
            self._look(filter="")

    def _look(self, **changes: object) -> None:
        self.view = msgspec.structs.replace(self.view, **changes)
        self.stage.redraw()
