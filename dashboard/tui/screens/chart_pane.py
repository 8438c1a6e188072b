"""Panes with charts: they ask the history on a thread, one question at a time, and draw what came last."""

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from dashboard.chart_data import SPANS, Chart, ChartData, step_seconds
from dashboard.replay.chart_reader import ChartSource
from dashboard.tui.pages.chart import chart_columns
from dashboard.tui.screens.pane import Pane
from dashboard.world import World

_REFRESH_SECONDS = 2.0
_STEPS_ACROSS = 20
"""Presses that take the time cursor through a whole chart."""


class ChartView(msgspec.Struct):
    """How charts are looked at: one span and one time cursor for all of them, whatever pane they are on."""

    span: int | None
    """Index into SPANS; None: as fits what was recorded, until the user chooses."""
    cursor: float | None = None


class _Reading(NamedTuple):
    """What was asked of the history last, and when by the monotonic clock."""

    until: float = 0.0
    span: int | None = None
    columns: int = 0
    asked_at: float = -_REFRESH_SECONDS


class ChartedPane(Pane):
    """A pane that shows charts."""

    def __init__(self, source: ChartSource, view: ChartView) -> None:
        self.data = ChartData()
        """What was read last."""
        self.view = view
        self._source = source
        self._last = _Reading()
        self._busy = False

    @abstractmethod
    def charts(self, world: World) -> Sequence[Chart]:
        """The charts of this page."""

    @property
    def data_at_cursor(self) -> ChartData:
        """What was read last, with the cursor of this moment."""
        return msgspec.structs.replace(self.data, cursor=self.view.cursor)

    @property
    def span(self) -> int:
        """How far back its charts look: index into SPANS."""
        return self.data.span if self.view.span is None else self.view.span

    def read_from(self, source: ChartSource) -> None:
        """Take charts from another source from now on: the past has its own."""
        self._source = source
        self._last = _Reading()

    def charts_to_read(self, world: World, width: int) -> Callable[[], ChartData] | None:
        """What to call on a thread, as it blocks; None while the last answer is fresh, or another is waited for."""
        if width <= 0 or self._busy:
            return None
        now, until, columns = time.monotonic(), world.now, chart_columns(width)
        last, span = self._last, self.view.span
        same = (last.span, last.columns) == (span, columns)
        fresh = abs(until - last.until) < step_seconds(columns, self.span) and now - last.asked_at < _REFRESH_SECONDS
        if same and fresh:
            return None
        self._busy, self._last = True, _Reading(until, span, columns, now)
        source, charts = self._source, tuple(self.charts(world))
        return lambda: source.read(charts, until, span, columns)

    def take_charts(self, data: ChartData) -> None:
        """Take what was read."""
        self._busy, self.data = False, data

    def look_back(self, span: int) -> None:
        """Charts look as far back as that span, or the nearest there is."""
        self.view.span = max(0, min(len(SPANS) - 1, span))
        self.view.cursor = None

    def move_cursor(self, direction: int, now: float, width: int) -> None:
        """The time cursor one step on, or back for -1; beyond the end it goes away."""
        seconds = SPANS[self.span][1]
        step = max(step_seconds(chart_columns(width), self.span), seconds / _STEPS_ACROSS)
        at = (now if self.view.cursor is None else self.view.cursor) + direction * step
        self.view.cursor = None if at >= now else max(now - seconds, at)
