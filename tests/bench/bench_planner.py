"""How good the planner is on data that nobody tuned it on: `make bench-planner`.

Every figure is scored by leaving whole sources out: whatever is chosen (the prior of a law, the width of its intervals)
is chosen on the other sources only. The usual laws are fitted in the same run. "As shipped" is what the product does,
which was chosen on all of them.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import product

import msgspec
import numpy as np
from scipy.special import ndtr

from capacity.models import baselines, latency, throughput
from capacity.models.crossing import crossings
from capacity.models.law import Array, Law
from capacity.models.selection import Kind, compete
from tests.bench.planner_data import Curve, Knee, below, closed_loops, knees
from tests.bench.planner_gauntlet import PUBLISHER, Case, blind, latencies, limits, straight, throughputs
from whisper_ops.objective import condition

SPLITS = (("the first half", 0.5, 0.10, 0.30), ("two thirds", 2 / 3, 0.03, 0.10))
BASELINES = {
    "last value": baselines.last_value,
    "soft minimum": baselines.soft_minimum,
    "USL": baselines.usl,
    "Amdahl": baselines.amdahl,
}
LATENCY_BASELINES = {
    "last value": baselines.last_value,
    "linear": baselines.linear,
    "exponential": baselines.exponential,
}
_Z = 1.2816  # half an 80 % interval in standard deviations
_LEAST = 3  # levels to predict from, as in the product

Fitter = Callable[[list[float], list[float]], Law]


class Score(msgspec.Struct):
    """Errors of unseen levels, and whether the interval held each."""

    errors: list[float] = []
    held: list[bool] = []

    def add(self, other: "Score") -> None:
        self.errors += other.errors
        self.held += other.held

    def __str__(self) -> str:
        median, p90 = np.median(self.errors), np.quantile(self.errors, 0.9)
        held = f"   80 % interval holds {np.mean(self.held):.0%}" if self.held else ""
        return f"{median:.3f} / {p90:.3f}{held}"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def split(curve: Curve, share: float) -> tuple[list[float], list[float], Array, Array]:
    seen = max(math.ceil(len(curve.loads) * share), 2)
    unseen, truth = np.asarray(curve.loads[seen:]), np.asarray(curve.figures[seen:])
    return curve.loads[:seen], curve.figures[:seen], unseen, truth


def score(curves: Iterable[Curve], share: float, fit: Fitter, *, logarithmic: bool = False) -> Score:
    """Relative errors on the unseen upper levels, or logs of the ratio: 10 for 40 is as wrong as 40 for 10."""
    total = Score([], [])
    for curve in curves:
        x, y, unseen, truth = split(curve, share)
        if not len(unseen):
            continue
        band = fit(x, y).band(unseen.tolist(), noise=True)
        middle = np.maximum(band[:, 1], 1e-12)
        gaps = np.abs(np.log(middle / truth)) if logarithmic else np.abs(middle / truth - 1)
        total.errors += gaps.tolist()
        total.held += ((band[:, 0] <= truth) & (truth <= band[:, 2])).tolist()
    return total


def by_source(curves: Iterable[Curve]) -> dict[str, list[Curve]]:
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(curve.source, []).append(curve)
    return found


def cost(scores: Sequence[Score]) -> float:
    """What a prior costs on one source: the log of its mean error, over both splits.

    On a log scale, and each source counting once, no large or difficult source decides for all.
    """
    return sum(math.log(0.01 + float(np.mean(np.minimum(one.errors, 3)))) for one in scores if one.errors)


class Throughputs:
    """Priors of throughput, each source scored with what the others chose."""

    def __init__(self, curves: list[Curve]) -> None:
        self.of = by_source(curves)
        self.scored = cache(self._scored)

    def priors(self) -> list[throughput.ThroughputPrior]:
        """The shipped one and its neighbours."""
        return [
            throughput.ThroughputPrior(knee=knee, soft=soft)
            for knee, soft in product((-0.6, -0.4, -0.2), (0.0, 0.1, 0.2))
        ]

    def _scored(self, source: str, prior: throughput.ThroughputPrior) -> tuple[Score, ...]:
        def fit(x: list[float], y: list[float]) -> Law:
            return throughput.fit_throughput(x, y, prior)

        enough = [curve for curve in self.of[source] if len(curve.loads) >= 2 * _LEAST - 1]
        return tuple(score(enough, share, fit) for _, share, _, _ in SPLITS)

    def choose(self, others: list[str]) -> throughput.ThroughputPrior:
        """The mean of the priors, weighed by what each costs the others; then the width that holds 80 %."""
        priors = self.priors()
        costs = np.asarray([sum(cost(self.scored(other, prior)) for other in others) for prior in priors])
        weights = np.exp(costs.min() - costs)
        knee = round(float(np.average([prior.knee for prior in priors], weights=weights)), 1)
        soft = round(float(np.average([prior.soft for prior in priors], weights=weights)), 1)
        widths = [
            throughput.ThroughputPrior(knee=knee, soft=soft, drift=drift, climb=climb)
            for drift, climb in product((0.3, 0.5), (0.1, 0.2))
        ]

        def miss(width: throughput.ThroughputPrior) -> float:
            held = [np.mean(one.held) for other in others for one in self.scored(other, width) if one.held]
            return abs(float(np.mean(held)) - 0.80)

        return min(widths, key=miss)

    def left_out(self, names: Iterable[str]) -> tuple[list[Score], set[throughput.ThroughputPrior]]:
        """Scores of some sources for both splits, each with the prior that all other sources chose."""
        totals, chosen = [Score([], []) for _ in SPLITS], set()
        for name in names:
            prior = self.choose([other for other in self.of if other != name])
            chosen.add(prior)
            for total, one in zip(totals, self.scored(name, prior), strict=True):
                total.add(one)
        return totals, chosen


def report_throughput() -> bool:
    """Print the errors on unseen upper levels of reference-data; whether every goal was met. Then the gauntlet's."""
    reference, gauntlet = closed_loops(), throughputs()
    choosing = Throughputs(reference + gauntlet)
    scores, chosen = choosing.left_out(dict.fromkeys(curve.source for curve in reference))
    say(f"{len(reference)} closed-loop curves of {len(by_source(reference))} sources; each source scored with what all")
    say("other sources chose. Relative error on the unseen upper levels, median / 90th percentile:\n")
    good = True
    for one, (name, share, median, p90) in zip(scores, SPLITS, strict=True):
        last = score(reference, share, _fitter(baselines.last_value))
        met = bool(
            np.median(one.errors) <= min(median, float(np.median(last.errors)))
            and np.quantile(one.errors, 0.9) <= min(p90, float(np.quantile(last.errors, 0.9)))
            and 0.70 <= np.mean(one.held) <= 0.90
        )
        good &= met
        say(f"from {name} of the levels ({len(one.errors)} unseen), goal {median:.2f} / {p90:.2f}:")
        _lines(one, reference, share)
        say(f"  goals {'met' if met else 'MISSED'}\n")
    for prior in chosen:
        say(f"  chosen: knee {prior.knee}, soft {prior.soft}, drift {prior.drift}, climb {prior.climb}")
    say("")
    scores, _ = choosing.left_out(dict.fromkeys(curve.source for curve in gauntlet))
    many = [curve for curve in gauntlet if len(curve.loads) >= 2 * _LEAST - 1]
    say(f"The gauntlet: {len(many)} throughput curves of {len(by_source(many))} other publishers, scored alike:\n")
    for one, (name, share, _, _) in zip(scores, SPLITS, strict=True):
        say(f"from {name} of the levels ({len(one.errors)} unseen):")
        _lines(one, many, share)
    return good


def _lines(one: Score, curves: list[Curve], share: float) -> None:
    say(f"  {'averaged soft minima':24}{one}")
    say(f"  {'  as shipped':24}{score(curves, share, throughput.fit_throughput)}")
    say(f"  {'  after the competition':24}{score(curves, share, _competing('throughput'))}")
    for name, fit in BASELINES.items():
        say(f"  {name:24}{str(score(curves, share, _fitter(fit))).split('   ')[0]}")


def _competing(kind: Kind) -> Fitter:
    """What `fit` answers: the model that wins on the levels it is given."""
    return lambda x, y: compete(kind, x, y).law


def _fitter(fit: Callable[[Array, Array], Law]) -> Fitter:
    return lambda x, y: fit(np.asarray(x), np.asarray(y))


def report_latency() -> None:
    """Print the errors of predicted latencies: the share of closed loops is chosen on the other sources."""
    of = by_source(curve for curve in latencies() if len(curve.loads) >= 2 * _LEAST - 1)
    priors = [latency.LatencyPrior(closed_loop=share) for share in (0.2, 0.5, 0.8)]

    @cache
    def scored(source: str, prior: latency.LatencyPrior) -> tuple[Score, ...]:
        def fit(x: list[float], y: list[float]) -> Law:
            return latency.fit_latency(x, y, prior)

        return tuple(score(of[source], share, fit, logarithmic=True) for _, share, _, _ in SPLITS)

    totals = [Score([], []) for _ in SPLITS]
    for name in of:
        best = min(priors, key=lambda prior: sum(cost(scored(other, prior)) for other in of if other != name))
        for total, one in zip(totals, scored(name, best), strict=True):
            total.add(one)
    curves = [curve for found in of.values() for curve in found]
    say(f"\nLatency: {len(curves)} curves of {len(of)} sources, left out in turn; |log(predicted / measured)|:\n")
    for total, (name, share, _, _) in zip(totals, SPLITS, strict=True):
        say(f"from {name} of the levels ({len(total.errors)} unseen):")
        say(f"  {'averaged queueing laws':24}{total}")
        say(f"  {'  after the competition':24}{score(curves, share, _competing('latency'), logarithmic=True)}")
        for rival, fit in LATENCY_BASELINES.items():
            say(f"  {rival:24}{str(score(curves, share, _fitter(fit), logarithmic=True)).split('   ')[0]}")


def report_blind() -> None:
    """Print what `fit` answers, as shipped, on tables that were taken down after everything was set."""
    say("\nBlind: tables taken down after all priors were set, scored as shipped after the competition:\n")
    kinds: tuple[tuple[Kind, bool], ...] = (("throughput", False), ("latency", True))
    for kind, logarithmic in kinds:
        for name, share, _, _ in SPLITS:
            curves = [curve for curve in blind(kind) if math.ceil(len(curve.loads) * share) >= _LEAST]
            one = score(curves, share, _competing(kind), logarithmic=logarithmic)
            last = str(score(curves, share, _fitter(baselines.last_value), logarithmic=logarithmic)).split("   ")[0]
            say(f"  {kind:11}from {name:15}({len(one.errors):2} unseen)  {one}; last value {last}")


def report_straight() -> None:
    """Print how well memory and processor time of unseen levels are predicted from the first two thirds."""
    say("\nMemory and processor time, predicted from the first two thirds of the levels, after the competition:\n")
    for kind, curve in straight():
        x, y, unseen, truth = split(curve, 2 / 3)
        chosen = compete(kind, x, y)
        errors = np.abs(chosen.law.band(unseen.tolist(), noise=True)[:, 1] / truth - 1)
        say(f"  {kind:8}{curve.name:24}{', '.join(f'{error:.1%}' for error in errors)} ({chosen.name})")


class Found(msgspec.Struct, frozen=True):
    """Where a law says that an objective is left, from low levels."""

    low: float
    middle: float
    high: float

    def hits(self, knee: Knee) -> bool:
        """Whether the interval overlaps the published one and is no wider than a factor of two."""
        assert knee.first_fail is not None
        assert knee.last_pass is not None
        return self.low < knee.first_fail and self.high >= knee.last_pass and self.high <= 2 * self.low

    def log_score(self, knee: Knee) -> float:
        """Log of the probability that it gave to the published interval; a proper score, so width is paid for."""
        assert knee.first_fail is not None
        assert knee.last_pass is not None
        spread = max(math.log(self.high / self.low) / (2 * _Z), 0.05)
        ends = [(math.log(end) - math.log(self.middle)) / spread for end in (knee.last_pass, knee.first_fail)]
        return math.log(max(float(ndtr(ends[1]) - ndtr(ends[0])), 0.02))


def find(knee: Knee, prior: latency.LatencyPrior) -> Found:
    loads, figures = below(knee, 0.7)
    law = latency.fit_latency(loads, figures, prior)
    low, middle, high = crossings(law, loads[0], loads[-1], condition(f"p95<={knee.objective}"))
    far = 30 * loads[-1]
    return Found(low or far, middle or far, high or far)


class Knees:
    """Priors of the limit: the mean over a grid, weighed by how well each foresees the limits of some publishers."""

    def __init__(self, cases: list[Case]) -> None:
        self.cases = cases
        self.grid = [
            msgspec.structs.replace(latency.PACED, knee=knee, step=step)
            for knee, step in product((0.5, 0.6, 0.7, 0.8), (0.0, 0.1, 0.2, 0.3))
        ]
        self.found = {(prior, i): find(case.knee, prior) for prior in self.grid for i, case in enumerate(cases)}

    def choose(self, but: str | None) -> latency.LatencyPrior:
        """The posterior mean without one publisher; each of the others counts once."""
        logs = []
        for prior in self.grid:
            by: dict[str, list[float]] = {}
            for i, case in enumerate(self.cases):
                if case.source != but:
                    by.setdefault(case.source, []).append(self.found[prior, i].log_score(case.knee))
            logs.append(sum(float(np.mean(found)) for found in by.values()))
        weights = np.exp(np.asarray(logs) - max(logs))
        knee = round(float(np.average([prior.knee for prior in self.grid], weights=weights)), 2)
        step = round(float(np.average([prior.step for prior in self.grid], weights=weights)), 2)
        return msgspec.structs.replace(latency.PACED, knee=knee, step=step)


def report_knees() -> bool:
    """Print capacity intervals from low levels beside the published ones; whether the goal was met held out."""
    cases = limits()
    choosing = Knees(cases)
    prior = choosing.choose(PUBLISHER)
    others = len({case.source for case in cases}) - 1
    say("\nKNEES-truth: capacity from levels under 0.7 × last pass, 80 % interval, beside the published one; the")
    say(f"prior is chosen on {others} other publishers only: knee {prior.knee}, step {prior.step}\n")
    for knee in knees():
        if not below(knee, 0.7)[0]:
            say(f"  {knee.name:42} {_truth(knee):10} no level is that low")
        elif knee.last_pass is None or knee.first_fail is None:
            found = find(knee, prior)
            say(f"  {knee.name:42} {_truth(knee):10} {found.low:5.1f} – {found.high:5.1f}  censored, apart")
        else:
            say(_knee_line(knee, prior))
    mine = [case.knee for case in cases if case.source == PUBLISHER]
    held_out = sum(find(knee, prior).hits(knee) for knee in mine)
    shipped = sum(find(knee, latency.PACED).hits(knee) for knee in mine)
    say(
        f"\n  overlap and upper/lower ≤ 2: {held_out} held out, of {len(mine)} rows with both ends and levels that low;"
    )
    say(f"  {shipped} as shipped (knee {latency.PACED.knee}, step {latency.PACED.step}, chosen on all)")
    say("\nThe gauntlet: limits of other publishers, each with the prior that all but it chose:\n")
    hits = []
    for case in cases:
        if case.source != PUBLISHER:
            own = choosing.choose(case.source)
            hits.append(find(case.knee, own).hits(case.knee))
            say(_knee_line(case.knee, own))
    say(f"\n  {sum(hits)} of {len(hits)} rows")
    return held_out >= 0.8 * len(mine)


def _truth(knee: Knee) -> str:
    return f"[{knee.last_pass or 0:g}, {'∞' if knee.first_fail is None else f'{knee.first_fail:g}'})"


def _knee_line(knee: Knee, prior: latency.LatencyPrior) -> str:
    found, loads = find(knee, prior), below(knee, 0.7)[0]
    word = "overlaps" if found.hits(knee) else "MISSES"
    return (
        f"  {knee.name:42} {_truth(knee):12} {found.low:6.4g} – {found.high:6.4g}  ×{found.high / found.low:.2f} from "
        f"{len(loads)} levels up to {loads[-1]:g}: {word}"
    )


def main() -> int:
    started = time.perf_counter()
    good = [report_throughput(), report_knees()]
    report_latency()
    report_straight()
    report_blind()
    say(f"\n{time.perf_counter() - started:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
