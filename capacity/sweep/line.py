"""A straight line through figures of one load, block after block, and how sure it is."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

CONFIDENCE = 0.95
"""Two-sided."""


class Line(msgspec.Struct, frozen=True):
    """By least squares, with intervals by Student's t.

    The errors of neighbouring blocks are alike (a slow minute follows a slow minute), which a plain interval takes for
    certainty: `sigma` is widened by the lag-one correlation of what the line leaves over.
    """

    centre: float
    """Mean of the places, where the line is surest."""
    value: float
    """There."""
    slope: float
    sigma: float
    """Of one block."""
    spread: float
    """Sum of squared distances from the centre."""
    count: int

    def at(self, place: float) -> tuple[float, float]:
        """The line's height at a place and the half width of its interval."""
        off = place - self.centre
        sure = self.sigma * math.sqrt(1 / self.count + off * off / self.spread)
        return self.value + self.slope * off, _student(self.count - 2) * sure

    @property
    def slope_half(self) -> float:
        """Half the width of the slope's interval."""
        return _student(self.count - 2) * self.sigma / math.sqrt(self.spread)


def fit(points: Sequence[tuple[float, float]]) -> Line | None:
    """The line through (place, value); None with fewer than three points, or all in one place."""
    if len(points) < 3:
        return None
    places, values = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    off = places - places.mean()
    spread = float(off @ off)
    if spread <= 0:
        return None
    slope = float(off @ (values - values.mean())) / spread
    rest = values - values.mean() - slope * off
    sigma = math.sqrt(float(rest @ rest) / (len(points) - 2)) * _widening(rest)
    return Line(float(places.mean()), float(values.mean()), slope, sigma, spread, len(points))


def _widening(rest: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    total = float(rest @ rest)
    alike = min(0.9, max(0.0, float(rest[1:] @ rest[:-1]) / total)) if total > 0 else 0.0
    return math.sqrt((1 + alike) / (1 - alike))


def _student(freedom: int) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415  # slow to import, and not every sweep needs it

    return float(np.asarray(stdtrit(freedom, (1 + CONFIDENCE) / 2)))
