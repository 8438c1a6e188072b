"""How good the planner is on data that nobody tuned it on: `make bench-planner`.

Every figure is scored by leaving whole sources out: the prior of the averaged law is chosen on the other sources only,
and so is the width of its intervals. The baselines are fitted in the same run.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import product

import msgspec
import numpy as np

from capacity.fit.capacity import crossings
from capacity.fit.objective import Objective
from capacity.laws import rivals
from capacity.laws.curve import Array
from capacity.laws.latency import fit_latency
from capacity.laws.throughput import DEFAULT_PRIOR, Prior, fit_throughput
from tests.bench.planner_data import Curve, below, closed_loops, knees

SPLITS = (("the first half", 0.5, 0.10, 0.30), ("two thirds", 2 / 3, 0.03, 0.10))
BASELINES = {
    "last value": rivals.last_value,
    "soft minimum": rivals.soft_minimum,
    "USL": rivals.usl,
    "Amdahl": rivals.amdahl,
}


class Score(msgspec.Struct):
    """Relative errors of unseen levels, and whether the interval held each."""

    errors: list[float] = []
    held: list[bool] = []

    def add(self, other: "Score") -> None:
        self.errors += other.errors
        self.held += other.held

    @property
    def median(self) -> float:
        return float(np.median(self.errors))

    @property
    def p90(self) -> float:
        return float(np.quantile(self.errors, 0.9))

    @property
    def coverage(self) -> float:
        return float(np.mean(self.held))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def split(curve: Curve, share: float) -> tuple[Array, Array, Array, Array]:
    x, y = np.asarray(curve.loads), np.asarray(curve.figures)
    seen = max(math.ceil(len(x) * share), 2)
    return x[:seen], y[:seen], x[seen:], y[seen:]


def ours(curves: Iterable[Curve], share: float, prior: Prior) -> Score:
    score = Score()
    for curve in curves:
        x, y, unseen, truth = split(curve, share)
        band = fit_throughput(x.tolist(), y.tolist(), prior).band(unseen.tolist(), noise=True)
        score.errors += np.abs(band[:, 1] / truth - 1).tolist()
        score.held += ((band[:, 0] <= truth) & (truth <= band[:, 2])).tolist()
    return score


def theirs(curves: Iterable[Curve], share: float, fit: Callable[[Array, Array], rivals.Single]) -> Score:
    score = Score()
    for curve in curves:
        x, y, unseen, truth = split(curve, share)
        score.errors += np.abs(fit(x, y).curve(unseen) / truth - 1).tolist()
    return score


def candidates() -> list[Prior]:
    """The priors to choose from: the shipped one and its neighbours."""
    return [
        Prior(knee=knee, knee_spread=spread, sharpness=sharp)
        for knee, spread, sharp in product((-0.6, -0.4, -0.2, 0.0), (0.15, 0.2, 0.3), (4.0, 6.0, 8.0))
    ]


def widths() -> list[tuple[float, float]]:
    """The interval's settings to choose from: (drift, narrow)."""
    return list(product((0.05, 0.1, 0.15), (0.6, 0.8, 1.0)))


def cost(scores: Sequence[Score]) -> float:
    """What a prior costs on one source: the log of its mean error, over both splits.

    On a log scale, and each source counting once, no large or difficult source decides for all.
    """
    return sum(math.log(0.01 + float(np.mean(score.errors))) for score in scores)


def leave_sources_out(curves: list[Curve]) -> tuple[list[Score], dict[str, Prior]]:
    """Scores of both splits, each source scored with the prior that was best on all others."""
    sources = sorted({curve.source for curve in curves})
    of = {source: [curve for curve in curves if curve.source == source] for source in sources}
    costs = {
        (source, prior): cost([ours(of[source], share, prior) for _, share, _, _ in SPLITS])
        for source in sources
        for prior in candidates()
    }

    def best(others: list[str]) -> Prior:
        chosen = min(candidates(), key=lambda prior: sum(costs[other, prior] for other in others))
        return calibrated(chosen, [curve for other in others for curve in of[other]])

    totals, chosen = [Score([], []) for _ in SPLITS], {}
    for source in sources:
        chosen[source] = best([other for other in sources if other != source])
        for total, (_, share, _, _) in zip(totals, SPLITS, strict=True):
            total.add(ours(of[source], share, chosen[source]))
    chosen["whatever comes (to be shipped)"] = best(sources)
    return totals, chosen


def calibrated(prior: Prior, curves: list[Curve]) -> Prior:
    """The prior with the interval width whose coverage on some curves is nearest to 80 %."""

    def miss(width: tuple[float, float]) -> float:
        changed = msgspec.structs.replace(prior, drift=width[0], narrow=width[1])
        return sum(abs(ours(curves, share, changed).coverage - 0.80) for _, share, _, _ in SPLITS)

    drift, narrow = min(widths(), key=miss)
    return msgspec.structs.replace(prior, drift=drift, narrow=narrow)


def line(name: str, score: Score) -> str:
    """One model's errors and the coverage of its intervals."""
    return f"  {name:24}{score.median:.3f} / {score.p90:.3f}   80 % interval holds {score.coverage:.0%}"


def report_curves() -> bool:
    """Print the errors on unseen upper levels; whether every goal was met."""
    curves = closed_loops()
    scores, chosen = leave_sources_out(curves)
    good = True
    say(f"{len(curves)} closed-loop curves of {len({c.source for c in curves})} sources; each source scored with what")
    say("the other sources chose. Relative error on the unseen upper levels, median / 90th percentile:\n")
    for score, (name, share, median, p90) in zip(scores, SPLITS, strict=True):
        last = theirs(curves, share, rivals.last_value)
        met = score.median <= min(median, last.median) and score.p90 <= min(p90, last.p90)
        met = met and 0.70 <= score.coverage <= 0.90
        good &= met
        say(f"from {name} of the levels ({len(score.errors)} unseen), goal {median:.2f} / {p90:.2f}:")
        say(line("averaged soft minima", score))
        shipped = ours(curves, share, DEFAULT_PRIOR)
        say(line("  as shipped", shipped))
        for baseline, fit in BASELINES.items():
            other = theirs(curves, share, fit)
            say(f"  {baseline:24}{other.median:.3f} / {other.p90:.3f}")
        say(f"  goals {'met' if met else 'MISSED'}\n")
    for source, prior in chosen.items():
        say(f"  prior for {source}: {prior}")
    return good


def report_knees() -> bool:
    """Print capacity intervals from low levels beside the published ones; whether the goal was met."""
    say("\nKNEES-truth: capacity from levels under 0.7 × last pass, 80 % interval, beside the published one:\n")
    hits = answered = 0
    for knee in knees():
        loads, figures = below(knee, 0.7)
        censored = knee.last_pass is None or knee.first_fail is None
        truth = f"[{knee.last_pass or 0:g}, {'∞' if knee.first_fail is None else f'{knee.first_fail:g}'})"
        if not loads:
            say(f"  {knee.name:42} {truth:10} no level is that low")
            continue
        law = fit_latency(loads, figures)
        low, _, high = crossings(law, loads[0], loads[-1], Objective("p95", at_most=True, bound=knee.objective))
        assert low is not None
        assert high is not None
        hit = low < (knee.first_fail or math.inf) and high >= (knee.last_pass or 0)
        word = "censored, apart" if censored else ("overlaps" if hit and high <= 2 * low else "MISSES")
        if not censored:
            answered += 1
            hits += hit and high <= 2 * low
        say(
            f"  {knee.name:42} {truth:10} {low:5.1f} – {high:5.1f}  ×{high / low:.2f} from {len(loads)} levels up to "
            f"{loads[-1]:g}: {word}"
        )
    say(f"\n  {hits} of {answered} rows with both ends and any level that low: overlap and upper/lower ≤ 2")
    return hits >= 0.8 * answered


def main() -> int:
    started = time.perf_counter()
    good = [report_curves(), report_knees()]
    say(f"\n{time.perf_counter() - started:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
