"""Throughput of a closed loop: it grows with the load, bends at a knee, and stays, or falls a little.

Every shape is a soft minimum with a tail: `log X = log λN − (1+η)/q · log(1 + (N/K)^q)`, which is linear far below the
knee K, bends as sharply as q says, and falls as N^−η far above it (η = 0: the published soft minimum; q = 1: a batching
server with step time a + bB). Two habits make the prior. People stop a load test soon after the knee, so nine parts in
ten hold a sharp knee near the last level: this pulls a straight beginning towards the last value. One part in ten is
soft: batching servers bend over a decade of load and are still growing at the last level. A perfectly straight
beginning fits the first, a bent one the second, so the levels decide.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from capacity.models.law import Array, Shapes, mixture, weigh

AVERAGED = "averaged soft minima"

_KNEES = np.linspace(-4.0, 5.0, 73)  # log of knee over last level
_SHARPNESS = np.exp(np.linspace(np.log(0.5), np.log(16.0), 13))
_FALLS = np.array([0.0, 0.05, 0.15, 0.30])
_FALL_WEIGHTS = np.array([0.5, 0.3, 0.15, 0.05])


class ThroughputPrior(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of a throughput curve before it is seen; the bench chooses it on sources it does not score."""

    knee: float = -0.5
    """Expected log of the knee over the last level."""
    knee_spread: float = 0.3
    sharpness: float = 8.0
    sharpness_spread: float = 1.0
    scatter: float = 0.02
    """Expected relative scatter of a level."""
    recency: float = 0.25
    """How much less a low level counts: (load / last load) to this power."""
    soft: float = 0.1
    """The share of curves that bend softly and go on growing."""
    soft_knee: float = 0.7
    soft_knee_spread: float = 0.3
    soft_sharpness: float = 0.6
    soft_sharpness_spread: float = 0.25
    shrink: float = 0.86
    """How far the answer may go from the last value towards the averaged law, on a log scale."""
    drift: float = 0.5
    """Interval added below for each factor e beyond the last level, for what no shape foresees."""
    climb: float = 0.2
    """Interval added above, times the growth between the last two levels: what still grows may go on growing."""
    least_climb: float = 0.05


DEFAULT_PRIOR = ThroughputPrior()


class ThroughputLaw(msgspec.Struct, frozen=True):
    """A posterior over throughput curves."""

    shapes: Shapes
    prior: ThroughputPrior
    knees: Array
    sharpness: Array
    falls: Array
    last_load: float
    last_value: float
    growth: float
    """Of the figure between the last two levels, for each factor e of load: 1 in proportion, 0 saturated."""
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
        climb = self.prior.least_climb + self.prior.climb * self.growth
        low = middle - np.hypot(logs[:, 1] - logs[:, 0], self.prior.drift * beyond)
        high = middle + np.hypot(logs[:, 2] - logs[:, 1], climb * beyond)
        return np.exp(np.stack([low, middle, high], axis=1))

    def bent(self) -> float:
        """The probability that the knee lies below the last level: that the ceiling was seen and not guessed."""
        return float(self.shapes.weights[self.knees < self.last_load].sum())


def fit_throughput(
    loads: Sequence[float], figures: Sequence[float], prior: ThroughputPrior = DEFAULT_PRIOR
) -> ThroughputLaw:
    """Fit the averaged law to levels with positive loads and figures, one figure a load, in rising order."""
    x, y = np.asarray(loads, float), np.asarray(figures, float)
    knees, sharpness, falls, log_prior = _grid(x[-1], prior)
    counts = (x / x[-1]) ** prior.recency
    shapes = weigh(_features(x, knees, sharpness, falls), y, log_prior, scatter=prior.scatter, trust=2.0, counts=counts)
    kept = shapes.kept
    last, growth = (float(x[-1]), float(y[-1])), _growth(x, y)
    return ThroughputLaw(shapes, prior, knees[kept], sharpness[kept], falls[kept], *last, growth)


def _growth(x: Array, y: Array) -> float:
    if len(x) < 2:
        return 1.0
    return float(np.clip(np.log(y[-1] / y[-2]) / np.log(x[-1] / x[-2]), 0.0, 1.0))


def _grid(last: float, prior: ThroughputPrior) -> tuple[Array, Array, Array, Array]:
    sharp = _habit(prior.knee, prior.knee_spread, prior.sharpness, prior.sharpness_spread)
    soft = _habit(prior.soft_knee, prior.soft_knee_spread, prior.soft_sharpness, prior.soft_sharpness_spread)
    both = (1 - prior.soft) * sharp + prior.soft * soft
    weight = both[:, :, None] * _FALL_WEIGHTS[None, None, :]
    grid = np.meshgrid(_KNEES, _SHARPNESS, _FALLS, indexing="ij")
    knees, sharpness, falls = (axis.ravel() for axis in grid)
    return np.exp(knees) * last, sharpness, falls, np.log(weight / weight.sum()).ravel()


def _habit(knee: float, spread: float, sharpness: float, sharpness_spread: float) -> Array:
    """Weights over (knee, sharpness) that sum to 1."""
    # Student with two degrees of freedom: the knee may well be far away, if the levels say so.
    near = (1 + ((_KNEES - knee) / spread) ** 2 / 2) ** -1.5
    bend = np.exp(-0.5 * ((np.log(_SHARPNESS) - np.log(sharpness)) / sharpness_spread) ** 2)
    weight = near[:, None] * bend[None, :]
    return np.asarray(weight / weight.sum())


def _features(n: Array, knees: Array, sharpness: Array, falls: Array) -> Array:
    steps = sharpness[:, None] * (np.log(n)[None, :] - np.log(knees)[:, None])
    return np.asarray(np.log(n)[None, :] - (1 + falls[:, None]) / sharpness[:, None] * np.logaddexp(0, steps))
