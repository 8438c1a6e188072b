"""What every law can do, and the arithmetic that averaged laws share.

An averaged law is a grid of shapes. Each shape is fitted in closed form on a logarithmic scale (its height is the one
coefficient), weighs as much as its prior times its likelihood, and predicts a Student distribution; the law predicts
the mixture. Nothing is optimised, so nothing can fail to converge, and three levels are enough to answer honestly.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from whisper_ops import student_t

Array: TypeAlias = NDArray[np.float64]

QUANTILES = (0.10, 0.50, 0.90)
"""The ends and the middle of every 80 % interval."""

_KEPT = 0.999
"""The share of all weight that is kept; the many shapes that share the rest would only cost time."""
_BLOCK = 32
# A Student distribution as eleven points of known weight: enough for quantiles between 5 and 95 %.
_POINTS = (0.02, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90, 0.98)
_WEIGHTS = np.array([0.05, *[0.10] * 9, 0.05])


class Law(Protocol):
    """A fitted law: what a figure is expected to be at a load, and how far off that may be."""

    @property
    def name(self) -> str:
        """What it is called in scores and reports."""
        ...

    def band(self, loads: Sequence[float], *, noise: bool) -> Array:
        """Low, middle and high (80 %) at each load, shape (loads, 3), in the unit of the figure.

        With `noise` of a new reading; without it of the law itself.
        """
        ...


class Shapes(msgspec.Struct, frozen=True):
    """Posterior over a grid of shapes: weights, heights (log), residual scale and degrees of freedom."""

    kept: NDArray[np.intp]
    """Which shapes of the grid still count."""
    weights: Array
    heights: Array
    scales: Array
    freedom: float
    seen: float


class Reciprocal(msgspec.Struct, frozen=True):
    """A law of 1 over the figure: what falls with load, such as a share of good answers, as what rises."""

    law: Law

    @property
    def name(self) -> str:
        return self.law.name

    def band(self, loads: Sequence[float], *, noise: bool) -> Array:
        """Low, middle and high at each load."""
        return np.asarray(1 / self.law.band(loads, noise=noise)[:, ::-1])


def weigh(features: Array, figures: Array, log_prior: Array, *, scatter: float, trust: float, counts: Array) -> Shapes:
    """Weigh shapes by how well they explain `log(figures)` up to a height each.

    Args:
        features: log of each shape at each load, shape (shapes, levels).
        figures: the measured figures, all positive.
        log_prior: log weight of each shape before any data.
        scatter: expected relative scatter of a level, such as 0.025.
        trust: how many levels that expectation is worth.
        counts: how much each level counts, at most 1.
    """
    logs = np.log(figures)
    total = float(counts.sum())
    gaps = logs[None, :] - features
    heights = (counts * gaps).sum(1) / total
    squares = (counts * (gaps - heights[:, None]) ** 2).sum(1)
    shape, rate = (trust + total - 1) / 2, trust * scatter**2 / 2 + squares / 2
    log_weight = log_prior - shape * np.log(rate)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    order = np.argsort(weight)[::-1]
    enough = int(np.searchsorted(np.cumsum(weight[order]), _KEPT)) + 1
    kept = np.sort(order[:enough])
    return Shapes(kept, weight[kept], heights[kept], np.sqrt(rate[kept] / shape), trust + total - 1, total)


def mixture(shapes: Shapes, features: Callable[[Array], Array], loads: Array, *, noise: bool) -> Array:
    """Quantiles of the averaged law at each load; in logs. Without noise only the height and the shape are unsure.

    Args:
        shapes: the posterior.
        features: the kept shapes at some loads, shape (kept, loads). It is asked for a few loads at a time, as
            thousands of shapes at hundreds of loads would take hundreds of megabytes.
        loads: where.
        noise: whether for a new reading.
    """
    blocks = [loads[start : start + _BLOCK] for start in range(0, len(loads), _BLOCK)]
    rows = [_quantiles(shapes, features(block), noise=noise) for block in blocks]
    return np.concatenate(rows) if rows else np.empty((0, len(QUANTILES)))


def _quantiles(shapes: Shapes, features: Array, *, noise: bool) -> Array:
    middle = features + shapes.heights[:, None]
    spread = shapes.scales * np.sqrt((1.0 if noise else 0.0) + 1 / shapes.seen)
    steps = np.array([student_t.quantile(shapes.freedom, point) for point in _POINTS])
    weights = (shapes.weights[:, None] * _WEIGHTS).ravel()
    rows = [weighted_quantiles((column[:, None] + spread[:, None] * steps).ravel(), weights) for column in middle.T]
    return np.array(rows).reshape(-1, len(QUANTILES))


def weighted_quantiles(values: Array, weights: Array) -> Array:
    """The quantiles `QUANTILES` of weighted values."""
    order = np.argsort(values)
    ranks = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(QUANTILES, ranks / weights.sum(), values[order])
