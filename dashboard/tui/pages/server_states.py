"""The state of a server or a GPU: glyph, word and colour, always together."""

from typing import NamedTuple

from dashboard.tui.pages.styled_lines import Cell, Style, TextSpan
from dashboard.tui.pages.thresholds import lag_style
from dashboard.world import ServerView, World, stale
from whisper_ops.snapshot import GpuFigures


class ServerState(NamedTuple):
    """A state as it is shown; `rank` sorts the worst first."""

    glyph: str
    word: str
    style: Style
    rank: int

    @property
    def well(self) -> bool:
        """Whether there is nothing to look after."""
        return self.rank >= _WELL

    @property
    def cell(self) -> Cell:
        """Glyph and word."""
        return (TextSpan(f"{self.glyph} {self.word}", self.style),)


_WELL = 9
_SILENT = ServerState("✕", "silent", "bad", 0)
_LATE = ServerState("▲", "late", "bad", 2)
"""Its words come later than the objective allows: whatever it says of itself, its users wait."""
_OVER = ServerState("▲", "overfull", "warn", 4)
"""It holds more than a plan found it to hold in time."""
_STALE = ServerState("◌", "stale", "warn", 5)
_WAITING = ServerState("○", "waiting", "dim", 8)
_UNKNOWN = ServerState("○", "unknown", "dim", 8)
_ANSWERS = ServerState("●", "answers", "ok", _WELL)
"""Other software, such as an exporter of readings, says nothing of how it is: that it answers is all that is known."""
_NOT_REPORTED = ServerState("○", "—", "dim", _WELL)
_SERVER = {
    "critical": ServerState("◆", "critical", "bad", 1),
    "degraded": ServerState("▲", "degraded", "warn", 3),
    "draining": ServerState("▽", "draining", "note", 6),
    "starting": ServerState("◔", "starting", "note", 7),
    "healthy": ServerState("●", "healthy", "ok", _WELL),
}
_GPU = {
    "failed": ServerState("✕", "failed", "bad", 0),
    "draining": ServerState("▽", "draining", "note", 6),
    "starting": ServerState("◔", "starting", "note", 7),
    "ready": ServerState("●", "ready", "ok", _WELL),
}


def server_state(server: ServerView, world: World) -> ServerState:
    """The worst of what we see of a server, what its users feel, and what it says of itself."""
    if server.newest is None:
        return _WAITING
    if server.silent or server.answer is None:
        return _SILENT
    if stale(server.answer, world.now, world.interval):
        return _STALE
    figures = server.answer.figures
    if figures is None:
        return _ANSWERS
    reported = _ANSWERS if figures.status is None else _SERVER.get(figures.status, _UNKNOWN)
    load = ServerLoad(figures.lag_p95_seconds, figures.streams_active, world.objective_for(server))
    return load.worst(reported, server.planned.safe if server.planned else None)


def gpu_state(gpu: GpuFigures, server: ServerView, world: World) -> ServerState:
    """The worst of the state that the server reports for the GPU, and what the users of its streams feel."""
    reported = _NOT_REPORTED if gpu.state is None else _GPU.get(gpu.state, _UNKNOWN)
    load = ServerLoad(gpu.lag_p95_seconds, gpu.streams_active, world.objective_for(server))
    return load.worst(reported, server.planned.per_gpu if server.planned else None)


class ServerLoad(NamedTuple):
    """How late words are, and how many streams there are, against what they may be."""

    lag: float | None
    streams: int | None
    objective: float

    @property
    def late(self) -> bool:
        """Whether words come later than the objective allows."""
        return lag_style(self.lag, self.objective) == "bad"

    def over(self, limit: int | None) -> bool:
        """Whether there are more streams than were planned; unknown is not more."""
        return limit is not None and self.streams is not None and self.streams > limit

    def worst(self, reported: ServerState, limit: int | None) -> ServerState:
        """The worst of what a server or a GPU says of itself and of its load."""
        by_load = [state for state, holds in ((_LATE, self.late), (_OVER, self.over(limit))) if holds]
        return min(reported, *by_load, key=lambda state: state.rank) if by_load else reported
