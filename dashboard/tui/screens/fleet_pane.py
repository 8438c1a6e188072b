"""The fleet screen."""

from typing import ClassVar

import msgspec

from dashboard.tui.pages.filter_fields import FACTS, fact_named
from dashboard.tui.pages.filters import parse
from dashboard.tui.pages.fleet_page import FleetView, fleet_page
from dashboard.tui.pages.fleet_rows import COLUMNS
from dashboard.tui.pages.styled_lines import Page
from dashboard.tui.screens.pane import Pane
from dashboard.world import World
from whisper_ops.errors import UserError

_SORTS = ("state", *(column.sorts for column in COLUMNS if column.sorts not in {None, "state"}))
"""What `o` goes through: the worst state first, then the columns from left to right."""


class FleetPane(Pane):
    """A row a server."""

    PAGE: ClassVar[str] = "fleet"

    def __init__(self, view: FleetView) -> None:
        self.view = view

    def page(self, world: World, width: int, height: int) -> Page:
        return fleet_page(world, self.view, width, height)

    def set_filter(self, text: str) -> None:
        """Show only what meets a filter; UserError when it cannot be read."""
        parse(text)
        self._change(filter=text.strip())

    def sort(self, name: str) -> None:
        """Sort by a fact, or by the next column for an empty name; UserError for an unknown fact."""
        if not name:
            at = _SORTS.index(self.view.sort) + 1 if self.view.sort in _SORTS else 0
            name = _SORTS[at % len(_SORTS)] or "state"
        name = fact_named(name)
        if name not in FACTS:
            raise UserError(f"there is nothing called {name!r} to sort by; there is {', '.join(FACTS)}")
        self._change(sort=name)

    def fold(self, server: str) -> None:
        """Show or hide the GPUs of a server."""
        self._change(toggled=self.view.toggled ^ {server})

    def fold_all(self, *, closed: bool) -> None:
        """Hide or show the GPUs of all servers."""
        self._change(expand="closed" if closed else "open", toggled=frozenset())

    def back(self) -> bool:
        """Clear the filter."""
        filtered = bool(self.view.filter)
        self._change(filter="")
        return filtered

    def _change(self, **changes: object) -> None:
        self.view = msgspec.structs.replace(self.view, **changes)
