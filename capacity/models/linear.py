"""The straight line: memory, descriptors and processor time grow by the same amount with every stream.

Memory of a published streaming server was 17.68 + 0.1736 N GiB with residuals of at most 0.015, so the line is fitted
robustly and its limit carries the interval of an inverse prediction.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from whisper_ops import student_t

COVERAGE = 0.80
"""Of all intervals: the truth lies inside four times in five."""
LEAST_LEVELS = 3
_HUBER = 1.345  # in robust standard deviations; 95 % as efficient as least squares on clean data
_ROUNDS = 30
_MOST_ALIKE = 0.9
"""Lag-one correlation beyond which the widening is no longer believed: it is estimated from few readings."""


class LinearLaw(msgspec.Struct, frozen=True):
    """`base + slope * load`, with the figures that its intervals need."""

    base: float
    slope: float
    sigma: float
    """Standard deviation of the residuals, in the unit of the figure."""
    loads: tuple[float, ...]
    weights: tuple[float, ...]

    def at(self, load: float) -> float:
        return self.base + self.slope * load

    def spread(self, load: float) -> float:
        """Half the width of the 80 % interval of a new reading at `load`."""
        total, centre, around, noise = self._moments()
        return noise * math.sqrt(1 + 1 / total + (load - centre) ** 2 / around)

    def unsure(self, load: float, coverage: float = COVERAGE) -> float:
        """Half the width of the interval of the line itself at `load`, where the mean of many readings would lie."""
        total, centre, around, noise = self._moments(coverage)
        return noise * math.sqrt(1 / total + (load - centre) ** 2 / around)

    def slope_unsure(self, coverage: float = COVERAGE) -> float:
        """Half the width of the interval of the slope."""
        _, _, around, noise = self._moments(coverage)
        return noise / math.sqrt(around)

    @property
    def grows(self) -> bool:
        """Whether the slope is told from zero: the 80 % interval of the slope lies above it."""
        return self.slope > self.slope_unsure()

    def reaches(self, cap: float) -> tuple[float, float, float] | None:
        """The load at which the line meets `cap`, and the ends of that load's 80 % interval; None when it never does.

        The ends are where the band of a new reading meets the cap (Fieller's theorem), so they are not symmetric. With
        a slope that cannot be told from zero no load is too high to be the answer, and the upper end is infinite. No
        end is below 0: what is full before anything is connected has room for nothing.
        """
        if self.slope <= 0:
            return None
        total, centre, around, noise = self._moments()
        room = cap - self.at(centre)
        estimate = centre + room / self.slope
        # Of (room - slope · u)² = noise² · (1 + 1/total + u²/around), with u counted from the centre.
        square, rest = self.slope**2 - noise**2 / around, noise**2 * (1 + 1 / total)
        half = math.sqrt(max(rest * square + (noise * room) ** 2 / around, 0.0))
        if self.grows:
            low, high = ((room * self.slope + sign * half) / square for sign in (-1, 1))
        else:  # written so that a `square` of 0 is no division by it; below the centre the band is at the cap already
            low = (room**2 - rest) / (room * self.slope + half) if room**2 > rest and room > 0 else -math.inf
            high = math.inf
        return max(estimate, 0.0), max(min(centre + low, estimate), 0.0), max(centre + high, estimate, 0.0)

    def _moments(self, coverage: float = COVERAGE) -> tuple[float, float, float, float]:
        """Weight of all readings, their centre, the weighted squares around it, and the noise at such a certainty."""
        loads, weights = np.asarray(self.loads), np.asarray(self.weights)
        total = float(weights.sum())
        centre = float((weights * loads).sum()) / total
        around = float((weights * (loads - centre) ** 2).sum())
        return total, centre, around, student_t.quantile(total - 2, (1 + coverage) / 2) * self.sigma


def fit_line(loads: Sequence[float], figures: Sequence[float]) -> LinearLaw | None:
    """Fit a line robustly (Huber's weights); None below three different loads.

    One reading far off, such as one taken while a model was still loading, bends it very little.
    """
    x, y = np.asarray(loads, float), np.asarray(figures, float)
    if len(set(x.tolist())) < LEAST_LEVELS:
        return None
    weights = np.ones_like(x)
    base = slope = 0.0
    for _ in range(_ROUNDS):
        base, slope = _weighted(x, y, weights)
        residuals = y - base - slope * x
        scale = float(np.quantile(np.abs(residuals), 0.5)) / 0.6745
        if scale <= 1e-12 * max(float(np.abs(y).max()), 1e-300):
            break
        new = np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(residuals), 1e-300))
        if np.allclose(new, weights, atol=1e-6):
            break
        weights = new
    return _line(x, y, weights, base, slope)


def fit_series(times: Sequence[float], figures: Sequence[float]) -> LinearLaw | None:
    """Fit a line through one load's readings in the order of time, by least squares; None below three times.

    A bad minute counts in full: it is no mistake of the reading. The errors of neighbouring readings are alike (a slow
    minute follows a slow minute), which a plain interval takes for certainty: `sigma` is widened by their lag-one
    correlation.
    """
    x, y = np.asarray(times, float), np.asarray(figures, float)
    if len(set(x.tolist())) < LEAST_LEVELS:
        return None
    weights = np.ones_like(x)
    base, slope = _weighted(x, y, weights)
    line = _line(x, y, weights, base, slope)
    return msgspec.structs.replace(line, sigma=line.sigma * _widening(y - base - slope * x))


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray, base: float, slope: float) -> LinearLaw:
    residuals = y - base - slope * x
    sigma = float(np.sqrt((weights * residuals**2).sum() / max(float(weights.sum()) - 2, 1.0)))
    return LinearLaw(base, slope, sigma, tuple(x.tolist()), tuple(weights.tolist()))


def _widening(residuals: np.ndarray) -> float:
    total = float(residuals @ residuals)
    alike = min(_MOST_ALIKE, max(0.0, float(residuals[1:] @ residuals[:-1]) / total)) if total > 0 else 0.0
    return math.sqrt((1 + alike) / (1 - alike))


def _weighted(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    total = float(w.sum())
    mean_x, mean_y = float((w * x).sum()) / total, float((w * y).sum()) / total
    around = float((w * (x - mean_x) ** 2).sum())
    slope = float((w * (x - mean_x) * (y - mean_y)).sum()) / around
    return mean_y - slope * mean_x, slope
