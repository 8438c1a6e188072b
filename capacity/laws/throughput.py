"""Throughput of a closed loop: it grows with the load, bends at a knee, and stays, or falls a little.

Every shape is a soft minimum with a tail: `log X = log λN − (1+η)/q · log(1 + (N/K)^q)`, which is linear far below the
knee K, bends as sharply as q says, and falls as N^−η far above it (η = 0: the published soft minimum; q = 1: a batching
server with step time a + bB). People stop a load test soon after the knee, so the prior holds the knee near the last
level: this pulls a straight beginning towards the last value, which beats every single law that is fitted by itself.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from capacity.laws.curve import Array, Shapes, mixture, weigh

AVERAGED = "averaged soft minima"

_KNEES = np.linspace(-4.0, 5.0, 73)  # log of knee over last level
_SHARPNESS = np.exp(np.linspace(np.log(0.5), np.log(16.0), 13))
_FALLS = np.array([0.0, 0.05, 0.15, 0.30])
_FALL_WEIGHTS = np.array([0.5, 0.3, 0.15, 0.05])


class Prior(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of a throughput curve before it is seen; the bench chooses it on sources it does not score."""

    knee: float = -0.4
    """Expected log of the knee over the last level."""
    knee_spread: float = 0.3
    sharpness: float = 8.0
    sharpness_spread: float = 1.0
    scatter: float = 0.02
    """Expected relative scatter of a level."""
    recency: float = 0.25
    """How much less a low level counts: (load / last load) to this power."""
    shrink: float = 0.9
    """How far the answer may go from the last value towards the averaged law, on a log scale."""
    drift: float = 0.1
    """Interval added for each factor e beyond the last level, for what no shape foresees."""
    narrow: float = 1.0
    """Factor on the mixture's own interval."""


DEFAULT_PRIOR = Prior()


class Throughput(msgspec.Struct, frozen=True):
    """A posterior over throughput curves."""

    shapes: Shapes
    prior: Prior
    knees: Array
    sharpness: Array
    falls: Array
    last_load: float
    last_value: float
    name: str = AVERAGED

    def band(self, loads: Sequence[float], *, noise: bool) -> Array:
        """Low, middle and high at each load; beyond the last level shrunk towards its value."""
        n = np.asarray(loads, float)
        grid = self.knees, self.sharpness, self.falls
        logs = mixture(self.shapes, lambda some: _features(some, *grid), n, noise=noise)
        beyond = np.maximum(np.log(n / self.last_load), 0.0)
        middle = logs[:, 1].copy()
        outside = beyond > 0
        last = np.log(self.last_value)
        middle[outside] = last + self.prior.shrink * (middle[outside] - last)
        wider = self.prior.drift * beyond
        low = middle - np.hypot(self.prior.narrow * (logs[:, 1] - logs[:, 0]), wider)
        high = middle + np.hypot(self.prior.narrow * (logs[:, 2] - logs[:, 1]), wider)
        return np.exp(np.stack([low, middle, high], axis=1))

    def bent(self) -> float:
        """The probability that the knee lies below the last level: that the ceiling was seen and not guessed."""
        return float(self.shapes.weights[self.knees < self.last_load].sum())


def fit_throughput(loads: Sequence[float], figures: Sequence[float], prior: Prior = DEFAULT_PRIOR) -> Throughput:
    """Fit the averaged law to levels with positive loads and figures, one figure a load, in rising order."""
    x, y = np.asarray(loads, float), np.asarray(figures, float)
    knees, sharpness, falls, log_prior = _grid(x[-1], prior)
    counts = (x / x[-1]) ** prior.recency
    shapes = weigh(_features(x, knees, sharpness, falls), y, log_prior, scatter=prior.scatter, trust=2.0, counts=counts)
    kept = shapes.kept
    return Throughput(shapes, prior, knees[kept], sharpness[kept], falls[kept], float(x[-1]), float(y[-1]))


def _grid(last: float, prior: Prior) -> tuple[Array, Array, Array, Array]:
    # Student with two degrees of freedom: the knee may well be far away, if the levels say so.
    knee = (1 + ((_KNEES - prior.knee) / prior.knee_spread) ** 2 / 2) ** -1.5
    sharp = np.exp(-0.5 * ((np.log(_SHARPNESS) - np.log(prior.sharpness)) / prior.sharpness_spread) ** 2)
    grid = np.meshgrid(_KNEES, _SHARPNESS, _FALLS, indexing="ij")
    weight = knee[:, None, None] * sharp[None, :, None] * _FALL_WEIGHTS[None, None, :]
    knees, sharpness, falls = (axis.ravel() for axis in grid)
    return np.exp(knees) * last, sharpness, falls, np.log(weight / weight.sum()).ravel()


def _features(n: Array, knees: Array, sharpness: Array, falls: Array) -> Array:
    steps = sharpness[:, None] * (np.log(n)[None, :] - np.log(knees)[:, None])
    return np.asarray(np.log(n)[None, :] - (1 + falls[:, None]) / sharpness[:, None] * np.logaddexp(0, steps))
