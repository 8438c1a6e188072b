"""Latency under load: flat, then rising, then a cliff.

Paced streams: `log L = log L0 + log(1 + r · u^p · f(u))` with u = N/K. f is 1/(1 − u) below the limit K, as in every
queue, and grows as (u − 1)/ε above it, where a queue grows for as long as the test lasts. Closed loops: `log L = log L0
+ 1/q · log(1 + (N/K)^q)`, which by Little's law is N over a soft-minimum throughput. Both are averaged over a grid of
shapes on a log scale.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from capacity.models.law import Array, Shapes, mixture, weigh

QUEUEING = "averaged queueing laws"

_KNEES = np.linspace(-2.0, 4.5, 66)
_GROWTH = np.exp(np.linspace(np.log(0.02), np.log(8.0), 9))
_POWERS = np.array([1.0, 2.0, 4.0])
_POWER_WEIGHTS = np.array([0.4, 0.4, 0.2])
_CLIFFS = np.array([1e-2, 1e-3, 1e-4])
_USUAL_STEP, _LARGEST_STEP = 1.0, 2.8
_LOOP_SHARPNESS = np.array([1.0, 2.0, 4.0, 8.0])


class LatencyPrior(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of a latency curve before it is seen; the bench chooses it on publishers it does not score."""

    knee: float = 0.7
    """Expected log of the limit over the last level: a load test is read for a limit while below it."""
    step: float = 0.2
    """What each factor e between the last two levels adds to that: who takes large steps stops far from the limit."""
    knee_spread: float = 0.1
    scatter: float = 0.08
    closed_loop: float = 0.8
    """The weight of closed loops, where latency grows in proportion to the load instead of meeting a cliff."""
    drift: float = 1.0
    """Interval (log) added to a reading for each factor e beyond the last level: behind the cliff a queue grows for as
    long as the test lasts, which no level before it can tell."""


DEFAULT_PRIOR = LatencyPrior()
PACED = LatencyPrior(closed_loop=0.01)
"""For streams that keep their pace whatever the server does: five levels of a closed loop outweigh it."""


class LatencyLaw(msgspec.Struct, frozen=True):
    """A posterior over latency curves."""

    shapes: Shapes
    grid: tuple[Array, Array, Array, Array]
    prior: LatencyPrior
    last_load: float
    name: str = QUEUEING

    def band(self, loads: Sequence[float], *, noise: bool) -> Array:
        """Low, middle and high at each load."""
        n = np.asarray(loads, float)
        logs = mixture(self.shapes, lambda some: _features(some, self.grid), n, noise=noise)
        if noise:
            wider = self.prior.drift * np.maximum(np.log(n / self.last_load), 0.0)
            logs[:, 0] = logs[:, 1] - np.hypot(logs[:, 1] - logs[:, 0], wider)
            logs[:, 2] = logs[:, 1] + np.hypot(logs[:, 2] - logs[:, 1], wider)
        return np.exp(logs)


def fit_latency(loads: Sequence[float], figures: Sequence[float], prior: LatencyPrior = DEFAULT_PRIOR) -> LatencyLaw:
    """Fit the averaged law to levels with positive loads, rising, and positive figures."""
    x, y = np.asarray(loads, float), np.asarray(figures, float)
    grid, log_prior = _grid(x, prior)
    shapes = weigh(_features(x, grid), y, log_prior, scatter=prior.scatter, trust=3.0, counts=np.ones_like(x))
    kept = shapes.kept
    kept_grid = (grid[0][kept], grid[1][kept], grid[2][kept], grid[3][kept])
    return LatencyLaw(shapes, kept_grid, prior, float(x.max()))


def _step(x: Array) -> float:
    """The log of the factor between the last two levels; of one level, as of levels that were doubled and more."""
    below = x[x < x[-1]]
    return min(float(np.log(x[-1] / below[-1])), _LARGEST_STEP) if len(below) else _USUAL_STEP


def _grid(x: Array, prior: LatencyPrior) -> tuple[tuple[Array, Array, Array, Array], Array]:
    """Shapes as (knee, growth, power, cliff); a closed loop has growth 0 and its sharpness in the power."""
    last = float(x[-1])
    expected = prior.knee + prior.step * _step(x)
    knee = (1 + ((_KNEES - expected) / prior.knee_spread) ** 2 / 3) ** -2.0
    queue = np.meshgrid(_KNEES, _GROWTH, _POWERS, _CLIFFS, indexing="ij")
    weight = knee[:, None, None, None] * np.ones(9)[None, :, None, None]
    weight = weight * _POWER_WEIGHTS[None, None, :, None] * np.ones(3)
    loop = np.meshgrid(_KNEES, _LOOP_SHARPNESS, indexing="ij")
    # A closed loop's knee is where throughput bends, which the last level may well have passed.
    loop_weight = np.ones_like(loop[0])
    weights = np.concatenate(
        [
            (1 - prior.closed_loop) * weight.ravel() / weight.sum(),
            prior.closed_loop * loop_weight.ravel() / loop_weight.sum(),
        ]
    )
    nothing = np.zeros(loop[0].size)
    grid = (
        np.exp(np.concatenate([queue[0].ravel(), loop[0].ravel()])) * last,
        np.concatenate([queue[1].ravel(), nothing]),
        np.concatenate([queue[2].ravel(), loop[1].ravel()]),
        np.concatenate([queue[3].ravel(), nothing]),
    )
    return grid, np.log(weights)


def _features(n: Array, grid: tuple[Array, Array, Array, Array]) -> Array:
    knees, growth, powers, cliffs = (axis[:, None] for axis in grid)
    used = n[None, :] / knees
    free = 1 - used
    queue = np.log1p(growth * used**powers * 2 / (np.sqrt(free**2 + 4 * np.maximum(cliffs, 1e-9)) + free))
    loop = np.logaddexp(0, powers * np.log(used)) / powers
    return np.asarray(np.where(growth > 0, queue, loop))
