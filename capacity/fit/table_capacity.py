"""The capacity of a fitted table: between which loads the objective stops being met, and how well that is known."""

from typing import Literal

import msgspec
import numpy as np

from capacity.fit.table_levels import TableLevel
from capacity.models.crossing import crossings
from capacity.models.law import Array, Law, Reciprocal
from capacity.models.throughput import ThroughputLaw
from whisper_ops.formatting import counted
from whisper_ops.objective import ObjectiveTerm

Status = Literal["identified", "lower_bound", "upper_bound", "not_identifiable"]

_STEPS = 240
_NOISE_LATENCY = (0.5, 0.30)
_NOISE_THROUGHPUT = (0.7, 0.25)
"""Noise is what the law explains less of than the first share, or what goes the wrong way for more than the second.

Of 150 sets of five random levels 92 to 97 % are told so, and of the published curves none is.
"""
_MANY = 16
_NOISE_MANY = 0.25
_STEADY = 0.05
"""Figures that vary by less than this (log) are steady, not noisy."""
_TIGHT = 2.0
_NEAR = 0.5
"""A limit is only known from loads of at least this share of it."""
_FULL = (0.90, 0.95, 0.99)
"""Shares of the highest throughput at which the low end, the middle and the high end of a ceiling's load are read."""


class FittedCapacity(msgspec.Struct, frozen=True, kw_only=True):
    """Loads between which the limit lies; None where nothing is known."""

    last_pass: float | None
    first_fail: float | None
    estimate: float | None
    low: float | None
    high: float | None
    status: Status
    reason: str


def noise(law: Law, levels: tuple[TableLevel, ...], *, collapses: bool = False) -> str | None:
    """Why the figures do not follow the load, None when they do or when they are too few or too steady to say.

    A throughput that `collapses` falls faster than any law here; then only ups and downs are noise.
    """
    if len(levels) < 4:
        return None
    figures = np.log(np.maximum([level.figure for level in levels], 1e-12))
    spread = float(figures.std())
    if spread <= _STEADY:
        return None
    fitted = np.log(np.maximum(law.band([level.load for level in levels], noise=False)[:, 1], 1e-12))
    rises = not isinstance(law, ThroughputLaw)
    direction = -1.0 if isinstance(law, Reciprocal) else 1.0
    least, most_wrong = _NOISE_LATENCY if rises else _NOISE_THROUGHPUT
    if len(levels) >= _MANY:  # a trend shows through scatter, which then also goes the wrong way half of the time
        least, most_wrong = _NOISE_MANY, 1.0
    explained = 1 - float(((figures - fitted) ** 2).mean()) / spread**2
    if (collapses or explained >= least) and _wrong_way(direction * figures, rises=rises) <= most_wrong:
        return None
    return (
        f"the figures vary by {np.expm1(spread):.0%} and the best law explains {max(explained, 0):.0%} of it: they do "
        f"not follow the load; repeat each of the {len(levels)} levels for longer"
    )


def _wrong_way(figures: Array, *, rises: bool) -> float:
    """The share of all movement from level to level that goes down, or for throughput against its one peak."""
    steps = np.diff(figures)
    total = float(np.abs(steps).sum())
    if rises:
        return float(-steps[steps < 0].sum()) / total
    down, up = -np.minimum(steps, 0), np.maximum(steps, 0)
    return min(float(down[:peak].sum() + up[peak:].sum()) for peak in range(len(steps) + 1)) / total


def within(law: Law, levels: tuple[TableLevel, ...], objective: ObjectiveTerm) -> FittedCapacity:
    """The load up to which an objective is met."""
    levels, since = _from_first_pass(levels, objective)
    last, fail = _bracket(levels, objective)
    why = noise(law, levels, collapses=isinstance(law, ThroughputLaw))
    if why is not None:
        return FittedCapacity(
            last_pass=last, first_fail=fail, estimate=None, low=None, high=None, status="not_identifiable", reason=why
        )
    low, estimate, high = crossings(law, levels[0].load, levels[-1].load, objective)
    if last is None and fail is None:
        raise AssertionError("levels without an answer")
    if last is None:
        assert fail is not None
        return FittedCapacity(
            last_pass=None, first_fail=fail, estimate=None, low=None, high=fail, status="upper_bound",
            reason=_missed_everywhere(levels, objective, fail),
        )  # fmt: skip
    if fail is not None:
        between = _between(levels, objective, last, fail)
        # The law may narrow the bracket, but the bracket was measured, and what was measured lies inside.
        low = last if low is None else min(max(low, last), between)
        high = fail if high is None else max(min(high, fail), between)
        return FittedCapacity(
            last_pass=last, first_fail=fail, estimate=between, low=low, high=high, status="identified",
            reason=f"{objective} is met at {last:g} and missed at {fail:g}{since}",
        )  # fmt: skip
    if not objective.at_most and levels[-1].figure >= levels[0].figure:  # it rises away from its bound
        return FittedCapacity(
            last_pass=last, first_fail=None, estimate=None, low=last, high=None, status="lower_bound",
            reason=f"{objective} is met up to {last:g}, the highest load, and still grows{since}",
        )  # fmt: skip
    return _unreached(objective, last, levels, (low, estimate, high))


def _from_first_pass(levels: tuple[TableLevel, ...], objective: ObjectiveTerm) -> tuple[tuple[TableLevel, ...], str]:
    """A floor that low loads cannot reach, such as a throughput, is held from the first load that reaches it."""
    if objective.at_most:
        return levels, ""
    passing = [i for i, level in enumerate(levels) if all(objective.met(value) for value in level.judged)]
    if not passing or passing[0] == 0:
        return levels, ""
    return levels[passing[0] :], f"; loads under {levels[passing[0]].load:g} are too low to reach it"


def _missed_everywhere(levels: tuple[TableLevel, ...], objective: ObjectiveTerm, fail: float) -> str:
    if objective.at_most:
        return f"even the lowest load, {fail:g}, misses {objective}"
    best = max(levels, key=lambda level: level.figure)
    return f"no load reaches {objective}: the most is {best.figure:g}, at {best.load:g}"


def _unreached(
    objective: ObjectiveTerm,
    last: float,
    levels: tuple[TableLevel, ...],
    ends: tuple[float | None, float | None, float | None],
) -> FittedCapacity:
    """No level missed the objective: the limit is above, and the law may say how far."""
    low, estimate, high = ends
    low = last if low is None else max(low, last)
    estimate = None if estimate is None else max(estimate, low)
    high = None if high is None else max(high, low)
    tight = high is not None and high <= _TIGHT * low and len(levels) >= 3 and last >= _NEAR * high
    if tight:
        return FittedCapacity(
            last_pass=last, first_fail=None, estimate=estimate, low=low, high=high, status="identified",
            reason=f"no load missed {objective}, but up to {last:g} the law grows so that it will by {high:.0f}",
        )  # fmt: skip
    return FittedCapacity(
        last_pass=last, first_fail=None, estimate=estimate, low=low, high=high, status="lower_bound",
        reason=f"every load up to {last:g} meets {objective}; what is above is extrapolated from "
        + counted(len(levels), "level"),
    )  # fmt: skip


def ceiling(law: Law, levels: tuple[TableLevel, ...]) -> FittedCapacity:
    """The load from which more load brings no more throughput, when no objective is given."""
    last = levels[-1].load
    why = noise(law, levels)
    if why is not None:
        return _unknown(why, last)
    if abs(levels[-1].figure / levels[0].figure - 1) < _STEADY and levels[-1].load > 2 * levels[0].load:
        return FittedCapacity(
            last_pass=None, first_fail=None, estimate=None, low=None, high=levels[0].load, status="upper_bound",
            reason=f"throughput is the same at every load from {levels[0].load:g} on: its ceiling is reached below",
        )  # fmt: skip
    bent = law.bent() if isinstance(law, ThroughputLaw) else 0.0
    first, final = levels[0], levels[-1]
    growth = np.log(final.figure / first.figure) / np.log(final.load / first.load) if final.load > first.load else 1.0
    if bent < 0.5 or growth > 0.97:
        return FittedCapacity(
            last_pass=last, first_fail=None, estimate=None, low=last, high=None, status="lower_bound",
            reason=f"throughput still grows with the load at {last:g}, the highest measured: its ceiling is above",
        )  # fmt: skip
    grid = np.geomspace(first.load, last * 4, _STEPS)
    middle = law.band(grid.tolist(), noise=False)[:, 1]
    low, estimate, high = (float(grid[int(np.argmax(middle >= share * middle.max()))]) for share in _FULL)
    return FittedCapacity(
        last_pass=None, first_fail=None, estimate=estimate, low=low, high=high, status="identified",
        reason=f"from {estimate:.3g} on, more load brings no more than 5 % more throughput",
    )  # fmt: skip


def _unknown(reason: str, last: float) -> FittedCapacity:
    del last
    return FittedCapacity(
        last_pass=None, first_fail=None, estimate=None, low=None, high=None, status="not_identifiable", reason=reason
    )


def no_objective() -> FittedCapacity:
    """The answer where no objective was given."""
    return _unknown("no objective was given; name one with --objective, such as COLUMN<=500", 0.0)


def _between(levels: tuple[TableLevel, ...], objective: ObjectiveTerm, last: float, fail: float) -> float:
    """Where the line between the two levels, on logarithmic scales, meets the bound."""
    figures = {level.load: level.figure for level in levels}
    low, high, bound = (max(value, 1e-12) for value in (figures[last], figures[fail], objective.limit))
    share = np.log(bound / low) / np.log(high / low) if high != low else 0.5
    return float(last * (fail / last) ** min(max(share, 0.0), 1.0)) if last > 0 else float(last + share * (fail - last))


def _bracket(levels: tuple[TableLevel, ...], objective: ObjectiveTerm) -> tuple[float | None, float | None]:
    """Last pass and first fail; a load whose repeats disagree has failed, and a pass above a fail does not count."""
    met = {level.load: all(objective.met(value) for value in level.judged) for level in levels}
    fail = min((load for load, passed in met.items() if not passed), default=None)
    last = max((load for load, passed in met.items() if passed and (fail is None or load < fail)), default=None)
    return last, fail
