"""Reading charts out of the history, on a thread, through a connection of its own. Imports no textual."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from dashboard.chart_data import DEFAULT_SPAN, SPANS, Chart, ChartData, ChartSeries, fitting_span, step_seconds
from dashboard.history.history_reader import HistoryReader
from whisper_ops.errors import UserError
from whisper_ops.history import ChartQuery, History, Point, point_in_time


class ChartSource(Protocol):
    """Something that can fill charts."""

    def read(self, charts: Sequence[Chart], until: float, span: int | None, columns: int) -> ChartData:
        """Series of so many steps that end at `until`; blocks. `span` None: one that fits the data."""
        ...


class NoCharts:
    """Where nothing is recorded there is nothing to draw."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read(self, charts: Sequence[Chart], until: float, span: int | None, columns: int) -> ChartData:  # noqa: ARG002  # the seam
        """Only the reason."""
        return ChartData(span=DEFAULT_SPAN if span is None else span, note=self._reason)


class HistoryCharts:
    """Charts from a history file, from samples or rollups as the span asks."""

    def __init__(self, path: Path) -> None:
        self._reader = HistoryReader(path)

    def read(self, charts: Sequence[Chart], until: float, span: int | None, columns: int) -> ChartData:
        try:
            fitted = self._reader.read(lambda history: _fitted(history, charts, until)) if span is None else span
            return self._read(charts, until, fitted, columns)
        except (UserError, sqlite3.Error) as error:
            return ChartData(span=DEFAULT_SPAN if span is None else span, note=str(error))

    def _read(self, charts: Sequence[Chart], until: float, span: int, columns: int) -> ChartData:
        step = step_seconds(columns, span)
        # Steps lie at multiples of their length, as the history's do: a picture that moves does not flicker.
        end = (until // step + 1) * step
        since = end - columns * step

        def series(history: History) -> dict[ChartQuery, ChartSeries]:
            return {
                chart.query: _series(history.polls.chart(chart.query, since, end, step), since, step, columns)
                for chart in charts
            }

        return ChartData(span=span, series=self._reader.read(series))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def _fitted(history: History, charts: Sequence[Chart], until: float) -> int:
    """The span for what was recorded of the servers on the page in the time that charts usually show."""
    since = until - SPANS[DEFAULT_SPAN][1]
    begins = (point_in_time.first_of(history, server, since) for server in {chart.query.server for chart in charts})
    first = min((at for at in begins if at is not None), default=until)
    return fitting_span(until - first)


def _series(points: Sequence[Point], since: float, step: float, columns: int) -> ChartSeries:
    values: list[float | None] = [None] * columns
    for point in points:
        index = round((point.at - since) / step)
        if 0 <= index < columns:
            values[index] = point.maximum
    return ChartSeries(since=since, step=step, values=tuple(values))
