"""Models compete on held-out error: each is fitted to the lower levels and scored on the upper ones it has not seen.

A dozen levels cannot rank models by themselves: before the knee every straight line looks perfect. So a model's own
held-out error is averaged with the error it is known to make on other sources, which counts like a few levels more.
What is printed as score is the model's own error alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np

from capacity.models import baselines, latency, throughput
from capacity.models.law import Array, Law
from capacity.models.linear import fit_line

Kind = Literal["throughput", "latency", "memory", "cpu"]
Fitter = Callable[[Array, Array], Law]

LEAST_LEVELS = 3
"""Below it no prediction is made."""
_KNOWN_COUNTS: dict[Kind, float] = {"throughput": 8.0, "latency": 4.0, "memory": 4.0, "cpu": 4.0}
"""How many splits the error on other sources is worth; most for throughput, which bends where no level has been."""
_BEST = 0.01
_MOST_SPLITS = 16
_WORST = 3.0
"""An error is counted up to this: beyond it a model is simply wrong."""


class Competitor(msgspec.Struct, frozen=True):
    """A model, and the error it makes on unseen upper levels of other sources: geometric means, as they are blended.

    Measured on `tests/data` by `make bench-planner` for throughput and latency; memory and processor time have too few
    published tables, so theirs are judged.
    """

    name: str
    fit: Fitter
    known_error: float


class Chosen(msgspec.Struct, frozen=True):
    """The winner, fitted to all levels, and everybody's held-out error; None where a model could not be scored."""

    name: str
    law: Law
    """Between the measured levels it follows them, and beyond the last one the winner."""
    shape: Law
    """The law of the kind's whole family, which says whether the figures are noise."""
    scores: dict[str, float | None]


def _averaged_throughput(x: Array, y: Array) -> Law:
    return throughput.fit_throughput(x.tolist(), y.tolist())


def _averaged_latency(x: Array, y: Array) -> Law:
    return latency.fit_latency(x.tolist(), y.tolist())


class _Straight(msgspec.Struct, frozen=True):
    """A robust line as a law; of two levels it is the line through both."""

    name: str
    base: float
    slope: float
    spread: Callable[[float], float]

    def band(self, loads: Sequence[float], *, noise: bool) -> Array:
        rows = []
        for load in loads:
            middle, half = self.base + self.slope * load, self.spread(load) * (1.0 if noise else 0.5)
            rows.append((middle - half, middle, middle + half))
        made: Array = np.maximum(np.asarray(rows, float).reshape(-1, 3), 0.0)  # no memory and no time is below nothing
        return made


def _straight(x: Array, y: Array) -> Law:
    line = fit_line(x.tolist(), y.tolist())
    if line is None:
        slope, base = np.polyfit(x, y, 1) if len(x) > 1 else (0.0, y[0])
        return _Straight("line", float(base), float(slope), lambda _: 0.1 * float(np.abs(y).max()))
    return _Straight("line", line.base, line.slope, line.spread)


COMPETITORS: dict[Kind, tuple[Competitor, ...]] = {
    "throughput": (
        Competitor(throughput.AVERAGED, _averaged_throughput, 0.12),
        Competitor("last value", baselines.last_value, 0.15),
        Competitor("soft minimum", baselines.soft_minimum, 0.15),
        Competitor("USL", baselines.usl, 0.21),
        Competitor("Amdahl", baselines.amdahl, 0.21),
        Competitor("linear", baselines.linear, 0.80),
    ),
    "latency": (
        Competitor(latency.QUEUEING, _averaged_latency, 0.31),
        Competitor("last value", baselines.last_value, 0.72),
        Competitor("linear", baselines.linear, 0.33),
        Competitor("exponential", baselines.exponential, 0.78),
    ),
    "memory": (Competitor("line", _straight, 0.02), Competitor("last value", baselines.last_value, 0.10)),
    "cpu": (
        Competitor("line", _straight, 0.05),
        Competitor("power law", baselines.power, 0.05),
        Competitor("last value", baselines.last_value, 0.25),
    ),
}


def compete(kind: Kind, loads: Sequence[float], figures: Sequence[float]) -> Chosen:
    """Fit every model of a kind and choose one. Loads rise, one figure each; at least two levels."""
    x, y = np.asarray(loads, float), np.asarray(figures, float)
    scores: dict[str, float | None] = {}
    best: tuple[float, Competitor] | None = None
    for competitor in COMPETITORS[kind]:
        errors = held_out(competitor.fit, x, y, logarithmic=kind == "latency")
        scores[competitor.name] = round(float(np.mean(errors)), 4) if errors else None
        known, own = _KNOWN_COUNTS[kind], [math.log(max(error, _BEST)) for error in errors]
        # Geometric: an error of 0.002 says more than that it is not 0.9.
        blended = (known * math.log(competitor.known_error) + sum(own)) / (known + len(own))
        if best is None or blended < best[0]:
            best = (blended, competitor)
    assert best is not None
    winner, shape = best[1].fit(x, y), COMPETITORS[kind][0].fit(x, y)
    if kind in ("latency", "throughput") and winner.name != shape.name:
        winner = Wider(winner, shape)
    law = winner if kind in ("memory", "cpu") and winner.name == "line" else Interpolated(x, y, shape, winner)
    return Chosen(winner.name, law, shape, scores)


def held_out(fit: Fitter, x: Array, y: Array, *, logarithmic: bool = False) -> list[float]:
    """The mean relative error on the levels above, once for each split with at least half of the levels below.

    Latency is scored on a logarithmic scale: behind a cliff 10 s for 40 s and 40 s for 10 s are equally wrong.
    """
    errors = []
    first = max(LEAST_LEVELS, math.ceil(len(x) / 2))
    for seen in range(first, len(x), max((len(x) - first) // _MOST_SPLITS, 1)):
        predicted = fit(x[:seen], y[:seen]).band(x[seen:].tolist(), noise=False)[:, 1]
        gaps = np.abs(predicted - y[seen:]) / np.maximum(np.abs(y[seen:]), 1e-12)
        if logarithmic:
            gaps = np.abs(np.log(np.maximum(predicted, 1e-12) / y[seen:]))
        errors.append(float(np.minimum(gaps, _WORST).mean()))
    return errors


class Wider(msgspec.Struct, frozen=True):
    """A law with an interval that holds the family's as well: single laws are far too sure of themselves."""

    law: Law
    family: Law

    @property
    def name(self) -> str:
        """What the law is called."""
        return self.law.name

    def band(self, loads: Sequence[float], *, noise: bool) -> Array:
        """Low, middle and high at each load."""
        made, family = self.law.band(loads, noise=noise), self.family.band(loads, noise=noise)
        low, high = np.minimum(made[:, 0], family[:, 0]), np.maximum(made[:, 2], family[:, 2])
        return np.stack([low, made[:, 1], high], axis=1)


class Interpolated(msgspec.Struct, frozen=True):
    """Levels joined up, with the scatter of the family's law; beyond the last level another law goes on."""

    loads: Array
    figures: Array
    inside: Law
    beyond: Law

    @property
    def name(self) -> str:
        """What the law beyond is called."""
        return self.beyond.name

    def band(self, loads: Sequence[float], *, noise: bool) -> Array:
        """Low, middle and high at each load."""
        n = np.asarray(loads, float)
        made = self.beyond.band(loads, noise=noise)
        within = (n >= self.loads[0]) & (n <= self.loads[-1])
        if not within.any() or self.figures.min() <= 0:
            return made
        middle = np.exp(np.interp(np.log(n[within]), np.log(self.loads), np.log(self.figures)))
        around = self.inside.band(n[within].tolist(), noise=noise)
        made[within] = around * (middle / around[:, 1])[:, None]
        return made
