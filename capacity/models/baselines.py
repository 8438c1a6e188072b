"""The single laws that everybody fits: last value, line, Amdahl, USL, soft minimum, exponential. Most lose."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from scipy.optimize import least_squares

from capacity.models.law import Array

_Z = 1.2816  # the normal quantile of an 80 % interval
_LEAST_SCATTER = 0.02


class BaselineLaw(msgspec.Struct, frozen=True):
    """A law fitted by itself, with an interval from its relative residuals."""

    name: str
    curve: Callable[[Array], Array]
    scatter: float

    def band(self, loads: Sequence[float], *, noise: bool) -> Array:
        """Low, middle and high at each load; the interval is of the scatter alone, and so of a reading."""
        middle = self.curve(np.asarray(loads, float))
        factor = np.exp(_Z * self.scatter * (1.0 if noise else 0.5))
        return np.stack([middle / factor, middle, middle * factor], axis=1)


def last_value(x: Array, y: Array) -> BaselineLaw:  # noqa: ARG001  # every fitter takes both
    """Whatever the last level showed."""
    last = float(y[-1])
    change = float(np.std(np.diff(np.log(np.maximum(y, 1e-12))))) if len(y) > 2 else 0.1
    return BaselineLaw("last value", lambda n: np.full(len(n), last), max(change, _LEAST_SCATTER))


def linear(x: Array, y: Array) -> BaselineLaw:
    """A straight line by least squares of relative errors."""
    weights = 1 / np.maximum(np.abs(y), 1e-12)
    base, slope = np.linalg.lstsq(np.stack([weights, weights * x], axis=1), np.ones(len(x)), rcond=None)[0]
    return _with_scatter("linear", lambda n: np.maximum(base + slope * n, 1e-12), x, y)


def exponential(x: Array, y: Array) -> BaselineLaw:
    """`a · exp(b N)`: a line on a logarithmic scale."""
    slope, base = np.polyfit(x, np.log(y), 1)
    return _with_scatter("exponential", lambda n: np.exp(np.minimum(base + slope * n, 700.0)), x, y)


def power(x: Array, y: Array) -> BaselineLaw:
    """`a · N^b`: a line on two logarithmic scales; processor time of servers that batch grows so."""
    n, figures = np.log(np.maximum(x[x > 0], 1e-12)), np.log(np.maximum(y[x > 0], 1e-12))
    slope, base = np.polyfit(n, figures, 1) if len(n) > 1 else (0.0, float(np.log(max(y[-1], 1e-12))))
    return _with_scatter("power law", lambda n: np.exp(base + slope * np.log(np.maximum(n, 1e-12))), x, y)


def usl(x: Array, y: Array) -> BaselineLaw:
    """Gunther's universal scalability law `λN / (1 + σ(N−1) + κN(N−1))`."""

    def law(p: Array, n: Array) -> Array:
        return np.asarray(p[0] * n / (1 + p[1] * (n - 1) + p[2] * n * (n - 1)))

    return _fitted("USL", law, [_slope(x, y), 0.01, 1e-4], [0, 0, 0], [np.inf, 1, 1], x, y)


def amdahl(x: Array, y: Array) -> BaselineLaw:
    """Amdahl's law: the USL without the cost of coherence."""

    def law(p: Array, n: Array) -> Array:
        return np.asarray(p[0] * n / (1 + p[1] * (n - 1)))

    return _fitted("Amdahl", law, [_slope(x, y), 0.01], [0, 0], [np.inf, 1], x, y)


def soft_minimum(x: Array, y: Array) -> BaselineLaw:
    """`((λN)^−q + C^−q)^(−1/q)`: the smaller of a line and a ceiling, with a soft corner."""

    def law(p: Array, n: Array) -> Array:
        return np.asarray(((p[0] * n) ** -p[2] + p[1] ** -p[2]) ** (-1 / p[2]))

    start = [_slope(x, y), 1.2 * float(y.max() / np.median(y)), 2.0]
    return _fitted("soft minimum", law, start, [1e-12, 1e-12, 0.2], [np.inf, np.inf, 20], x, y)


def _slope(x: Array, y: Array) -> float:
    """Figure for each unit of load at the lowest level, in the unit of the fit."""
    return float(y[0] / np.median(y) / x[0])


def _fitted(
    name: str,
    law: Callable[[Array, Array], Array],
    start: list[float],
    low: list[float],
    high: list[float],
    x: Array,
    y: Array,
) -> BaselineLaw:
    """Least squares on figures, as the published baselines do it, in a unit in which they are about 1."""
    unit = float(np.median(y))

    def gaps(p: Array) -> Array:
        return np.asarray(law(p, x) - y / unit)

    found = least_squares(gaps, start, bounds=(low, high), x_scale=np.maximum(np.abs(start), 1e-3))
    best = np.asarray(found.x, float)

    def curve(n: Array) -> Array:
        return unit * law(best, n)

    return _with_scatter(name, curve, x, y)


def _with_scatter(name: str, curve: Callable[[Array], Array], x: Array, y: Array) -> BaselineLaw:
    gaps = np.log(np.maximum(curve(x), 1e-12)) - np.log(np.maximum(y, 1e-12))
    return BaselineLaw(name, curve, max(float(np.sqrt(np.mean(gaps**2))), _LEAST_SCATTER))
