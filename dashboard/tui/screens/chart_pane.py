"""Panes with charts: they ask the history on a thread, one question at a time, and draw what came last."""

import time
from abc import abstractmethod
from collections.abc import Sequence

import msgspec

from dashboard.chart_data import SPANS, Chart, ChartData, step_seconds
from dashboard.replay.chart_reader import ChartSource
from dashboard.tui.pages.chart import chart_columns
from dashboard.tui.screens.pane import Pane
from dashboard.world import World
from whisper_ops.errors import UserError

_REFRESH_SECONDS = 2.0


class ChartView(msgspec.Struct):
    """How charts are looked at: one span and one time cursor for all of them, whatever screen they are on."""

    span: int | None
    """Index into SPANS; None: as fits what was recorded, until somebody chooses."""
    cursor: float | None = None


class ChartedPane(Pane):
    """A pane that shows charts."""

    def __init__(self, source: ChartSource, looking: ChartView) -> None:
        self.charts = ChartData()
        """What was read last."""
        self.looking = looking
        self._source = source
        self._asking = False
        self._asked_at = -_REFRESH_SECONDS
        self._asked_for: tuple[float, int | None, int] = (0.0, None, 0)

    @abstractmethod
    def wanted(self, world: World) -> Sequence[Chart]:
        """The charts of this page."""

    @property
    def held(self) -> ChartData:
        """What was read last, with the cursor of this moment."""
        return msgspec.structs.replace(self.charts, cursor=self.looking.cursor)

    @property
    def span(self) -> int:
        """How far back its charts look."""
        return self.charts.span if self.looking.span is None else self.looking.span

    def ask_elsewhere(self, source: ChartSource) -> None:
        """Take charts from another source from now on: the past has its own."""
        self._source = source
        self._asked_for = (0.0, None, 0)

    def drawn(self) -> None:
        """Ask the history again when its answer is old or was for another question."""
        width, at = self.stage.width, self.stage.world.now
        if width <= 0 or self._asking:
            return
        now, span, asked_width = self._asked_for
        columns = chart_columns(width)
        step = step_seconds(columns, self.span)
        same = span == self.looking.span and asked_width == width and abs(at - now) < step
        if same and time.monotonic() - self._asked_at < _REFRESH_SECONDS:
            return
        self._asking, self._asked_at = True, time.monotonic()
        self._asked_for = (at, self.looking.span, width)
        source, charts, span = self._source, tuple(self.wanted(self.stage.world)), self.looking.span
        self.stage.read_beside(lambda: source.read(charts, at, span, columns), self._got)

    def _got(self, charts: ChartData) -> None:
        """The history answered."""
        self._asking = False
        self.charts = charts
        self.stage.redraw()

    def do_longer(self, _: str) -> None:
        """Charts look further back."""
        self._look(self.span + 1)

    def do_shorter(self, _: str) -> None:
        """Charts look less far back."""
        self._look(self.span - 1)

    def do_span(self, name: str) -> None:
        """Charts look as far back as is said."""
        names = [known.replace(" ", "") for known, _ in SPANS]
        wanted = name.replace(" ", "").lower()
        if wanted not in names:
            raise UserError(f"charts have no span {name!r}; they have {', '.join(known for known, _ in SPANS)}")
        self._look(names.index(wanted))

    def do_earlier(self, _: str) -> None:
        """The time cursor one step back."""
        self._move(-1)

    def do_later(self, _: str) -> None:
        """The time cursor one step on; beyond the end it goes away."""
        self._move(1)

    def _look(self, span: int) -> None:
        self.looking.span = max(0, min(len(SPANS) - 1, span))
        self.looking.cursor = None
        self.stage.redraw()

    def _move(self, direction: int) -> None:
        step = step_seconds(chart_columns(self.stage.width), self.span)
        # A twentieth of the span at a time: across a chart in twenty presses, and back.
        step = max(step, SPANS[self.span][1] / 20)
        first = self.stage.world.now - SPANS[self.span][1]
        at = (self.looking.cursor if self.looking.cursor is not None else self.stage.world.now) + direction * step
        self.looking.cursor = None if at >= self.stage.world.now else max(first, at)
        self.stage.redraw()
