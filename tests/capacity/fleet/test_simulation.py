"""`simulate` against Erlang's formula where it holds, and what no formula has: starts, losses, balancers."""

import json
from statistics import fmean
from typing import Any

import pytest

from capacity.fleet.erlang import blocking
from capacity.fleet.simulation.scenario import DAYS, Lengths, Region, Scenario
from capacity.fleet.simulation.simulation_result import SimulationResult, answer
from capacity.fleet.simulation.simulator import simulate
from tests.capacity.plan_history import level, written
from tests.capacity.planner_cli import whisper_ops
from whisper_ops.errors import Exit


def lived(peak_streams: float, slots: int, **more: Any) -> SimulationResult:
    given = {"mean_length_seconds": 120.0, "machines": 1, "day": DAYS["flat"], **more}
    scenario = Scenario(peak_streams=peak_streams, slots_per_gpu=slots, **given)
    return answer(scenario, simulate(scenario))


@pytest.mark.parametrize(
    ("offered", "slots", "lengths"), [(3.0, 2, "exponential"), (8.0, 10, "steady"), (8.0, 10, "lognormal")]
)
def test_it_agrees_with_erlang_within_its_interval(offered: float, slots: int, lengths: Lengths) -> None:
    runs = [lived(offered, slots, lengths=lengths, mean_length_seconds=180.0, seed=seed) for seed in range(16)]
    said = blocking(offered, slots)
    held = [one for one in runs if one.blocking_low is not None and one.blocking_high is not None]
    inside = [one for one in held if (one.blocking_low or 0) <= said <= (one.blocking_high or 0)]
    assert len(inside) >= 13, "an interval of 95 % holds it nearly always"
    assert max((one.blocking_high or 0) - (one.blocking_low or 0) for one in runs) < 0.12, "and says something"
    assert fmean(one.blocking or 0 for one in runs) == pytest.approx(said, abs=0.01)


def test_several_machines_with_one_balancer_are_one_pool_and_a_blind_one_wastes_slots() -> None:
    pooled = lived(40.0, 11, machines=4)
    blind = lived(40.0, 11, machines=4, balancer="blind")
    assert pooled.blocking_low is not None
    assert pooled.blocking_high is not None
    assert pooled.blocking_low <= blocking(40.0, 44) <= pooled.blocking_high
    assert blind.blocking_low is not None
    assert blind.blocking_low > pooled.blocking_high
    for balancer in ("random", "pack"):
        other = lived(40.0, 11, machines=4, balancer=balancer)
        assert other.blocking == pytest.approx(blocking(40.0, 44), abs=0.02)
    spread, packed = (lived(20.0, 11, machines=4, balancer=name) for name in ("least_loaded", "pack"))
    assert spread.hours[0].connections_per_gpu_p95 is not None
    assert packed.hours[0].connections_per_gpu_p95 is not None
    assert spread.hours[0].connections_per_gpu_p95 < packed.hours[0].connections_per_gpu_p95


def test_the_same_seed_lives_the_same_day_and_another_one_another() -> None:
    one, again, other = (lived(8.0, 10, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one != other


def test_a_scaled_fleet_follows_the_day_and_pays_for_slow_starts() -> None:
    scaled = {"machines": None, "day": DAYS["office"], "mean_length_seconds": 300.0}
    quick = lived(150.0, 15, start_seconds=30.0, **scaled)
    slow = lived(150.0, 15, start_seconds=1800.0, **scaled)
    roomy = lived(150.0, 15, start_seconds=1800.0, headroom=0.6, **scaled)
    night, noon = quick.hours[3], quick.hours[10]
    assert night.gpus_mean * 4 < noon.gpus_mean
    assert noon.gpus_mean * 15 > noon.streams_mean
    assert quick.blocking is not None
    assert slow.blocking is not None
    assert roomy.blocking is not None
    assert quick.blocking < slow.blocking
    assert roomy.blocking < slow.blocking
    assert roomy.gpu_hours_per_day > slow.gpu_hours_per_day


def test_never_is_a_machine_taken_from_under_live_calls() -> None:
    scaled = {"machines": None, "day": DAYS["office"], "mean_length_seconds": 1800.0, "lengths": "steady"}
    found = lived(200.0, 20, **scaled)
    assert (found.interrupted, found.lost) == (0, 0)


def test_calls_of_a_lost_machine_go_on_elsewhere_if_there_is_room() -> None:
    roomy = lived(20.0, 20, machines=4, lose_every_seconds=4 * 3600.0, start_seconds=60.0)
    tight = lived(76.0, 20, machines=4, lose_every_seconds=4 * 3600.0, start_seconds=600.0)
    assert roomy.interrupted > 0
    assert roomy.lost == 0
    assert tight.lost > 0
    assert tight.blocking is not None
    assert tight.blocking > blocking(76.0, 80)


def test_regions_by_their_own_clocks_peak_apart() -> None:
    one = {"machines": None, "day": DAYS["office"], "mean_length_seconds": 300.0}
    together = lived(100.0, 10, **one)
    apart = lived(100.0, 10, regions=(Region(name="a", share=0.5), Region(name="b", share=0.5, ahead_hours=12)), **one)
    assert apart.gpus_most < together.gpus_most
    assert apart.calls == pytest.approx(together.calls, rel=0.05)


def test_the_command_says_what_was_assumed_and_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    flat = (
        "simulate",
        "--peak-streams",
        "8",
        "--slots",
        "10",
        "--machines",
        "1",
        "--day",
        "flat",
        "--mean-length",
        "2min",
    )
    done = whisper_ops(capsys, *flat)
    assert done.code == 0
    assert "Erlang's formula says 12.2 %" in done.out
    assert "Assumed: 10 calls a GPU (--slots), 1 GPU a machine; 1 machine; calls of 120 s" in done.out
    said = whisper_ops(capsys, *flat, "--json").json
    assert said["schema"] == "whisper-ops/simulate/1"
    assert len(said["hours"]) == 24
    assert said["blocking_low"] <= said["blocking"] <= said["blocking_high"]
    assert (said["price_per_day"], said["hours"][0]["latency_p95_seconds"]) == (None, None)


def test_a_plan_gives_the_slots_and_the_latency(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    db = written(tmp_path / "history.db", [level(n, n <= 80) for n in (8, 16, 32, 48, 64, 80, 88)])
    where = ("--history", str(db))
    assert whisper_ops(capsys, "simulate", "--peak-streams", "9", *where).code == Exit.EVIDENCE
    planned = json.loads(whisper_ops(capsys, "plan", *where, "--json").out)
    prices = tmp_path / "prices.toml"
    prices.write_text("[H100]\nper_gpu_hour = 2.0\n")
    said = whisper_ops(
        capsys, "simulate", "--peak-streams", "300", "--day", "flat", "--price", str(prices), *where, "--json"
    ).json
    assert said["scenario"]["slots_per_gpu"] == planned["max_connections_per_gpu"]
    assert said["price_per_day"] == pytest.approx(2.0 * said["gpu_hours_per_day"])
    assert said["hours"][0]["latency_p95_seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "how much traffic"),
        (("--peak-streams", "5", "--day", "1,2,3"), "24 hours"),
        (("--peak-streams", "5", "--day", ",".join(["nan"] * 24)), "numbers from 0 on"),
        (("--peak-streams", "5", "--region", "us:40%:0"), "add up to 40 %"),
        (("--peak-streams", "5", "--region", "us"), "NAME:SHARE:HOURS"),
        (("--peak-streams", "10000000", "--mean-length", "1s"), "calls"),
        (("--peak-streams", "5", "--machines", "3", "--headroom", "5%"), "--headroom"),
        (("--peak-streams", "5", "--peak-arrivals", "5/min"), "--peak-arrivals"),
        (("--peak-streams", "5", "--gpu", "H100"), "--price"),
    ],
)
def test_a_wrong_scenario_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    done = whisper_ops(capsys, "simulate", "--slots", "10", *arguments)
    assert done.code == Exit.USAGE
    assert sentence in done.sentence()
