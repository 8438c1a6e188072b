"""The state of a server or a GPU: glyph, word and colour, always together."""

from typing import NamedTuple

from dashboard.view.lines import Cell, Span, Style
from dashboard.view.world import ServerView, stale
from whisper_ops.snapshot import GpuFigures


class State(NamedTuple):
    """A state as it is shown; `rank` sorts the worst first."""

    glyph: str
    word: str
    style: Style
    rank: int

    @property
    def cell(self) -> Cell:
        """Glyph and word."""
        return (Span(f"{self.glyph} {self.word}", self.style),)


_SILENT = State("✕", "silent", "bad", 0)
_STALE = State("◌", "stale", "warn", 3)
_WAITING = State("○", "waiting", "dim", 6)
_UNKNOWN = State("○", "unknown", "dim", 6)
_ANSWERS = State("●", "answers", "ok", 7)
"""Other software, such as an exporter of readings, says nothing of how it is: that it answers is all that is known."""
_NOT_SAID = State("○", "—", "dim", 7)
_SERVER = {
    "critical": State("◆", "critical", "bad", 1),
    "degraded": State("▲", "degraded", "warn", 2),
    "draining": State("▽", "draining", "note", 4),
    "starting": State("◔", "starting", "note", 5),
    "healthy": State("●", "healthy", "ok", 7),
}
_GPU = {
    "failed": State("✕", "failed", "bad", 0),
    "draining": State("▽", "draining", "note", 4),
    "starting": State("◔", "starting", "note", 5),
    "ready": State("●", "ready", "ok", 7),
}


def server_state(server: ServerView, now: float, interval: float = 1.0) -> State:
    """The state of a server: silent and stale are what we see, the others are what it says of itself."""
    if server.newest is None:
        return _WAITING
    if server.silent or server.answer is None:
        return _SILENT
    if stale(server.answer, now, interval):
        return _STALE
    said = server.answer.figures.status if server.answer.figures else None
    return _ANSWERS if said is None else _SERVER.get(said, _UNKNOWN)


def gpu_state(gpu: GpuFigures) -> State:
    """The state of a GPU in the server's own word."""
    return _NOT_SAID if gpu.state is None else _GPU.get(gpu.state, _UNKNOWN)
