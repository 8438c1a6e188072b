"""The laws themselves: what they recover, what their intervals hold, and that the goals of the bench are in reach."""

import numpy as np
import pytest

from capacity.models import baselines
from capacity.models.latency import PACED, fit_latency
from capacity.models.linear import fit_line
from capacity.models.selection import compete, held_out
from capacity.models.throughput import fit_throughput
from tests.bench.planner_data import closed_loops, knees

LEVELS = [1, 2, 4, 8, 16, 32, 64]


def test_a_soft_minimum_is_recovered_from_all_of_its_levels() -> None:
    truth = [((12 * n) ** -4.0 + 300**-4.0) ** -0.25 for n in LEVELS]
    band = fit_throughput(LEVELS, truth).band([24, 128], noise=True)
    assert band[0, 1] == pytest.approx(((12 * 24) ** -4.0 + 300**-4.0) ** -0.25, rel=0.05)
    assert band[1, 0] < 300 < band[1, 2]


def test_rivals_reproduce_the_published_fit_of_the_cisco_data() -> None:
    curve = next(curve for curve in closed_loops() if "cisco" in curve.source)
    law = baselines.usl(np.asarray(curve.loads), np.asarray(curve.figures))
    # Baron Schwartz' book: lambda 995.6, sigma 0.0267, kappa 0.000769, and so a peak of 12,341 near 35.
    assert law.curve(np.asarray([1.0]))[0] == pytest.approx(995.65, rel=1e-3)
    assert law.curve(np.asarray([35.0]))[0] == pytest.approx(12341, rel=2e-3)


def test_every_law_gives_ordered_positive_bands_far_beyond_the_data() -> None:
    for curve in closed_loops():
        x, y = np.asarray(curve.loads), np.asarray(curve.figures)
        law = compete("throughput", x[:4].tolist(), y[:4].tolist()).law
        band = law.band([x[0], x[-1], 100 * x[-1]], noise=True)
        assert np.isfinite(band).all()
        assert (band[:, 0] > 0).all()
        assert (np.diff(band, axis=1) >= 0).all()


def test_from_half_of_the_levels_the_averaged_law_beats_every_rival() -> None:
    def error(fit: str) -> float:
        found = []
        for curve in closed_loops():
            x, y = np.asarray(curve.loads), np.asarray(curve.figures)
            seen = -(-len(x) // 2)
            if fit == "averaged":
                predicted = fit_throughput(x[:seen].tolist(), y[:seen].tolist()).band(x[seen:].tolist(), noise=True)[
                    :, 1
                ]
            else:
                predicted = getattr(baselines, fit)(x[:seen], y[:seen]).curve(x[seen:])
            found += np.abs(predicted / y[seen:] - 1).tolist()
        return float(np.median(found))

    ours = error("averaged")
    assert ours <= 0.10
    assert all(ours < error(rival) for rival in ("last_value", "soft_minimum", "usl", "amdahl"))


def test_latency_grows_with_load_and_its_limit_is_found_from_below() -> None:
    knee = next(knee for knee in knees() if "max_batch=4" in knee.name)
    law = fit_latency(knee.loads[:2], knee.figures[:2], PACED)
    middle = law.band([16, 32, 48, 96], noise=False)[:, 1]
    assert (np.diff(middle) > 0).all()
    assert law.band([48], noise=False)[0, 2] > 500 > law.band([32], noise=False)[0, 0]


def test_a_line_shrugs_off_one_wild_reading() -> None:
    loads = list(range(4, 44, 4))
    figures = [10 + 0.2 * n for n in loads]
    figures[3] = 90.0
    line = fit_line(loads, figures)
    assert line is not None
    assert line.slope == pytest.approx(0.2, rel=0.02)
    assert line.base == pytest.approx(10, rel=0.02)


def test_the_interval_of_a_limit_holds_the_truth_about_four_times_in_five() -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        loads = [4.0, 8, 12, 16, 20, 24]
        line = fit_line(loads, [10 + 0.5 * n + random.normal(0, 0.4) for n in loads])
        assert line is not None
        reached = line.reaches(30.0)
        assert reached is not None
        held += reached[1] <= 40 <= reached[2]
    assert 0.70 <= held / 400 <= 0.95


def test_a_line_that_never_reaches_its_cap_has_no_limit() -> None:
    line = fit_line([1, 2, 3, 4], [5, 5, 5, 5])
    assert line is not None
    assert line.reaches(10) is None
    assert fit_line([1, 1, 2], [1, 2, 3]) is None  # two loads are not a law


def test_no_end_of_a_limit_is_negative_and_a_slope_near_zero_has_no_upper_end() -> None:
    random = np.random.default_rng(11)
    ends = []
    for _ in range(500):
        loads = [0.0, 1, 2, 3, 4]
        line = fit_line(loads, [53 + random.normal(0.2, 1) * n + random.normal(0, 3) for n in loads])
        assert line is not None
        reached = line.reaches(float(random.uniform(40, 95)))
        if reached is not None:
            assert 0 <= reached[1] <= reached[0] <= reached[2]
            assert line.grows == np.isfinite(reached[2])
            ends.append(reached[2])
    assert 50 < np.isfinite(ends).sum() < len(ends) - 50  # both kinds were met


def test_the_ends_of_a_limit_are_where_the_band_meets_the_cap() -> None:
    random = np.random.default_rng(12)
    loads = [1.0, 2, 4, 8, 16, 32]
    line = fit_line(loads, [10 + 0.5 * n + random.normal(0, 0.5) for n in loads])
    assert line is not None
    reached = line.reaches(40.0)
    assert reached is not None
    _, low, high = reached
    assert line.at(low) + line.spread(low) == pytest.approx(40)
    assert line.at(high) - line.spread(high) == pytest.approx(40)
    unsure = fit_line([0.0, 1, 2, 3, 4], [52, 55, 51, 56, 53])
    assert unsure is not None
    reached = unsure.reaches(90.0)
    assert reached is not None
    assert unsure.at(reached[1]) + unsure.spread(reached[1]) == pytest.approx(90)
    assert reached[2] == float("inf")


def test_a_line_of_memory_foresees_nothing_below_zero() -> None:
    band = compete("memory", [8.0, 16, 32, 64], [1.0, 9, 27, 61]).law.band([1, 2, 4], noise=True)
    assert (band >= 0).all()


def test_held_out_errors_see_only_levels_above() -> None:
    x, y = np.asarray([1.0, 2, 3, 4, 5, 6]), np.asarray([1.0, 2, 3, 4, 5, 600])
    errors = held_out(baselines.linear, x, y)
    assert len(errors) == 3
    assert errors[-1] == pytest.approx(0.99, abs=0.01)
