"""Curves of known shape that no table showed: every one is answered, and the truth is inside what is answered."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from capacity.fit.fit_document import FitRequest, answer
from capacity.fit.table_capacity import FittedCapacity

LOADS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
Curve = Callable[[float], float]


def usl(n: float) -> float:
    return 100 * n / (1 + 0.02 * (n - 1) + 2e-4 * n * (n - 1))


def roofline(n: float) -> float:
    return min(30 * n, 700.0)


def steps(n: float) -> float:
    """A server that decodes whole batches of eight."""
    return 8 * n / (8 * 0.05 + 0.02 * math.ceil(n / 8))


def two_regimes(n: float) -> float:
    """A cache that is too small from 24 on."""
    return 40.0 * n if n < 24 else 960.0 + 6 * (n - 24)


def several_servers(n: float) -> float:
    """A latency: eight machines, Erlang's probability to wait, ends at 40."""
    used, machines, seconds = n / 40, 8, 0.2
    if used >= 1:
        return 60.0
    offered = machines * used
    blocked = 1.0
    for k in range(1, machines + 1):
        blocked = offered * blocked / (k + offered * blocked)
    waits = blocked / (1 - used * (1 - blocked))
    return seconds * (1 + 3 * waits / (machines * (1 - used)))


def closed(n: float) -> float:
    """A latency by Little's law over a soft corner at 12."""
    return float(0.1 * (1 + (n / 12) ** 4) ** 0.25)


def measured(tmp_path: object, curve: Curve, noise: float, seed: int, scale: float, loads: tuple[int, ...]) -> object:
    random = np.random.default_rng(seed)
    rows = [(n, scale * curve(n) * float(np.exp(random.normal(0, noise)))) for n in loads for _ in range(1 + seed % 2)]
    random.shuffle(rows)
    path = tmp_path / "family.csv"  # type: ignore[operator]  # a path
    path.write_text("streams,x\n" + "\n".join(f"{n},{x:.9g}" for n, x in rows))
    return path


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("curve", [usl, roofline, steps, two_regimes])
def test_unseen_throughput_lies_in_the_interval_most_of_the_time(tmp_path: object, curve: Curve, scale: float) -> None:
    held = []
    for seed in range(4):
        path = measured(tmp_path, curve, 0.02, seed, scale, LOADS[:7])
        question = FitRequest(load="streams", metric="x", kind="throughput", predict=(32.0, 48.0, 64.0))
        (found,) = answer(path, question)  # type: ignore[arg-type]  # a path
        held += [row.low <= scale * curve(row.load) <= row.high for row in found.predictions]
    assert np.mean(held) >= 0.6, f"{curve.__name__}: {np.mean(held):.0%}"


@pytest.mark.parametrize(("curve", "bound"), [(several_servers, 0.5), (closed, 0.3)])
def test_the_capacity_of_a_latency_holds_the_truth(tmp_path: object, curve: Curve, bound: float) -> None:
    truth = float(np.interp(bound, [curve(n / 10) for n in range(10, 640)], [n / 10 for n in range(10, 640)]))
    right = []
    for seed in range(4):
        path = measured(tmp_path, curve, 0.03, seed, 1.0, LOADS)
        question = FitRequest(load="streams", metric="x", kind="latency", objective=f"x<={bound}")
        found: FittedCapacity = answer(path, question)[0].capacity  # type: ignore[arg-type]  # a path
        assert found.status == "identified"
        assert found.last_pass is not None
        assert found.first_fail is not None
        right.append(found.last_pass <= truth <= found.first_fail)
    assert sum(right) >= 3
