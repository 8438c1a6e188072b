"""Plots of a report: what they show, and where on the paper it is drawn by `templates/plot.svg.j2`."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

_NAMED_BARS = 24
"""More names than this below bars run into each other."""


class Series(NamedTuple):
    """Points of one colour, joined by a line, each with a dot, or both."""

    name: str
    points: tuple[tuple[float, float], ...]
    line: bool = True
    dots: bool = True


class PlotBar(NamedTuple):
    """A bar of a plot, with the name below it."""

    name: str
    value: float


class PlotFrame:
    """From figures to pixels. Both axes begin at 0; the vertical one ends with a round figure."""

    width, height = 560, 260
    left, right, top, bottom = 60, 545, 14, 218

    def __init__(self, x_top: float, y_top: float, *, whole_x: bool) -> None:
        self.x_top = x_top or 1.0
        self.x_ticks = _ticks(self.x_top, _step(self.x_top, whole=whole_x))
        step = _step(y_top or 1.0)
        self.y_top = math.ceil((y_top or 1.0) / step - 1e-9) * step
        self.y_ticks = _ticks(self.y_top, step)

    def x(self, value: float) -> float:
        """Pixels from the left, within the axes."""
        return round(self.left + min(max(value / self.x_top, 0.0), 1.0) * (self.right - self.left), 1)

    def y(self, value: float) -> float:
        """Pixels from the top, within the axes."""
        return round(self.bottom - min(max(value / self.y_top, 0.0), 1.0) * (self.bottom - self.top), 1)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """The points of a line, of which those beyond the axes are left out."""
        inside = ((x, y) for x, y in points if x <= self.x_top and y <= self.y_top)
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in inside)


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """Lines and dots over a figure, or bars side by side; dashed lines are limits, and a band an interval of x."""

    title: str = ""
    subtitle: str = ""
    x_label: str = ""
    y_label: str
    series: tuple[Series, ...] = ()
    bars: tuple[PlotBar, ...] = ()
    limits: tuple[tuple[str, float], ...] = ()
    band: tuple[float, float] | None = None
    x_top: float | None = None
    """Where the axis ends; None: with the last point."""
    y_top: float | None = None
    whole_x: bool = False
    """Whether x counts things, so that only whole numbers are marked."""
    legend: bool = True
    """Whether the names of the series are told."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not self.bars and not any(series.points for series in self.series)

    @property
    def description(self) -> str:
        """For those who cannot see it."""
        what = f"{self.title}: {self.subtitle}".strip(": ")
        return what or f"{self.y_label}{' over ' if self.x_label else ''}{self.x_label}"

    @property
    def frame(self) -> PlotFrame:
        """The axes that hold every point and limit, or end where the plot says."""
        points = [point for series in self.series for point in series.points]
        ys = [y for _, y in points] + [bar.value for bar in self.bars] + [y for _, y in self.limits]
        x_top = max((x for x, _ in points), default=1.0) if self.x_top is None else self.x_top
        return PlotFrame(x_top, max(ys, default=1.0) if self.y_top is None else self.y_top, whole_x=self.whole_x)

    @property
    def x_marks(self) -> list[tuple[str, float]]:
        """What is written below the horizontal axis, and where."""
        if not self.bars:
            return [(f"{value:g}", self.frame.x(value)) for value in self.frame.x_ticks]
        every = max(1, len(self.bars) // _NAMED_BARS)
        middle = self.bar_width / 2
        return [(bar.name, round(self.bar_left(k) + middle, 1)) for k, bar in enumerate(self.bars) if k % every == 0]

    @property
    def bar_width(self) -> float:
        """In pixels, with a fifth of the room left free between two."""
        return round(0.8 * (PlotFrame.right - PlotFrame.left) / len(self.bars), 1)

    def bar_left(self, number: int) -> float:
        """Pixels from the left to a bar, of which the first has number 0."""
        return round(PlotFrame.left + (number + 0.1) * (PlotFrame.right - PlotFrame.left) / len(self.bars), 1)


def _step(top: float, *, whole: bool = False) -> float:
    """A round distance between ticks, so that there are about five of them."""
    rough = top / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return max(1.0, round(step)) if whole else step


def _ticks(top: float, step: float) -> list[float]:
    return [round(k * step, 9) for k in range(int(top / step + 1e-9) + 1)]
