"""How the dashboard was left, and so how it is found again."""

import os
from pathlib import Path

import msgspec

from dashboard.chart_data import SPANS
from dashboard.tui.pages.filter_fields import FACTS, fact_named
from dashboard.tui.pages.filters import parse
from dashboard.tui.pages.fleet_page import Expand, FleetView
from whisper_ops.errors import UserError
from whisper_ops.lenient_json import decode_strictly


class SavedState(msgspec.Struct, frozen=True, kw_only=True):
    """What a person chose. Figures and servers are no part of it."""

    theme: str | None = None
    sort: str = "state"
    filter: str = ""
    expand: Expand = "auto"
    span: int | None = None
    """Of charts; None: nobody chose one."""

    @property
    def view(self) -> FleetView:
        """The fleet as it was looked at."""
        return FleetView(sort=self.sort, filter=self.filter, expand=self.expand)


def default_path() -> Path:
    """Where it is kept: `whisper-ops/dash.json` in XDG_STATE_HOME, else in ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "whisper-ops" / "dash.json"


def load(path: Path) -> SavedState:
    """The state that was left; a new one where there is none, or none that can be used."""
    try:
        state = decode_strictly(path.read_bytes(), SavedState)
        parse(state.filter)
    except (OSError, msgspec.MsgspecError, UserError):
        return SavedState()
    state = msgspec.structs.replace(state, sort=fact_named(state.sort))
    usable = state.sort in FACTS and (state.span is None or 0 <= state.span < len(SPANS))
    return state if usable else SavedState(theme=state.theme)


def save(path: Path, state: SavedState) -> None:
    """Leave a state. Where it cannot be kept it is not: that is no reason to stop anybody from leaving."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(state))
    except OSError:
        return
