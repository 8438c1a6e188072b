"""The data of charts: what each shows and the series the history has for it. `tui.pages.chart` draws them."""

from collections.abc import Callable

import msgspec

from dashboard import figure_text as f
from whisper_ops.history import ChartQuery

SPANS: tuple[tuple[str, float], ...] = (
    ("5 min", 300.0), ("15 min", 900.0), ("1 h", 3600.0), ("6 h", 21600.0), ("24 h", 86400.0), ("7 d", 604800.0),
    ("30 d", 2592000.0), ("90 d", 7776000.0),
)  # fmt: skip
"""How far back charts may look: name and seconds."""

DEFAULT_SPAN = 2


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """One chart: which figure of the history, and the scale it is drawn on."""

    title: str
    query: ChartQuery
    show: Callable[[float | None], str] = f.number
    """Formats a value of it."""
    top: float = 1.0
    """The upper end of the scale, unless a value is beyond it."""
    limit: float | None = None
    """A line that should not be crossed."""


class ChartSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The maximum of each step of `step` seconds from `since` on; None where nothing was measured."""

    since: float
    step: float
    values: tuple[float | None, ...]

    def at(self, moment: float) -> float | None:
        """The value of the step that a moment is in."""
        index = int((moment - self.since) // self.step)
        return self.values[index] if 0 <= index < len(self.values) else None


class ChartData(msgspec.Struct, frozen=True, kw_only=True):
    """What the history holds for the charts of a page."""

    span: int = DEFAULT_SPAN
    """Index into SPANS."""
    series: dict[ChartQuery, ChartSeries] = {}
    note: str | None = None
    """Why there is nothing to draw."""
    cursor: float | None = None
    """The moment that is looked at in all charts."""


def fitting_span(seconds: float) -> int:
    """The shortest span that shows all of the last `seconds`; none is longer than the default."""
    return next((index for index, (_, span) in enumerate(SPANS[:DEFAULT_SPAN]) if seconds <= span), DEFAULT_SPAN)


def step_seconds(columns: int, span: int) -> float:
    """How long a step is where a span is drawn in so many columns; polls are a second apart at best."""
    return max(1.0, SPANS[span][1] / columns)
