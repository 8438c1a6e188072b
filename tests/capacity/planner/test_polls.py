"""Ordinary production as evidence: what it answers, what it leaves open, and what it does not fall for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from capacity.planner import EvidenceRequest, make_plan
from capacity.planner.polls import PolledMean, change_point, read_polls
from capacity.planner.resources import bends
from tests.capacity.plan_history import level, written
from tests.capacity.plan_simulated import IDENTITY, SERVER, Batching, Truth, polls, truths, write_polls, write_sweep
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History
from whisper_ops.plan.plan_document import Plan
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

TYPICAL = Truth(limit=80, base=0.3, growth=0.4, power=1)


def plan(path: Path, now: float = 2e6, **wanted: Any) -> Plan:
    with History.reading(path) as history:
        return make_plan(history, EvidenceRequest(**wanted), now)


def status(path: Path) -> str:
    """The status of a plan; one that was refused for want of evidence has identified nothing."""
    try:
        return plan(path).capacity.status
    except UserError as error:
        return "not_identifiable" if error.code == Exit.EVIDENCE else str(error)


@pytest.mark.slow
def test_twenty_simulated_servers_are_planned_from_polls_of_up_to_half_their_capacity(tmp_path: Path) -> None:
    off = []
    for number, truth in enumerate(truths()):
        made = plan(write_polls(tmp_path / f"{number}.db", truth, truth.capacity / 2))
        if made.capacity.status == "identified":
            assert made.capacity.estimate is not None
            off.append(abs(made.capacity.estimate / truth.capacity - 1))
        else:  # then it promises no more than what was seen
            assert made.max_connections_per_gpu is not None
            assert made.max_connections_per_gpu <= truth.capacity / 2
    assert len(off) >= 12
    assert np.mean(np.array(off) <= 0.20) >= 0.90


BATCHING = ((0.05, 0.01, 16), (0.1, 0.02, 8), (0.03, 0.02, 8))


@pytest.mark.parametrize(("a", "b", "most"), BATCHING)
def test_a_server_that_batches_is_planned_by_its_step_time(tmp_path: Path, a: float, b: float, most: int) -> None:
    # It is busy all the time from a third of its capacity on, and its lag is flat until then.
    server = Batching(a=a, b=b, most=most)
    capacity = server.capacity
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(server.polls(capacity / 2))
    made = plan(tmp_path / "history.db")
    assert made.binding_resource == "GPU step time"
    assert made.capacity.status == "identified"
    assert made.capacity.estimate == pytest.approx(capacity, rel=0.20)
    with History.writing(tmp_path / "low.db") as history:
        history.polls.add(server.polls(capacity / 5))
    assert status(tmp_path / "low.db") in ("lower_bound", "not_identifiable")


def test_a_level_that_passed_is_not_denied_by_a_law_of_speed(tmp_path: Path) -> None:
    levels = [level(n, n < 40, front_cpu_ratio=0.025 * n) for n in (4, 8, 16, 32, 38, 42)]
    made = plan(written(tmp_path / "history.db", levels))
    assert made.capacity.last_pass == 38  # at 95 % of its core, where a plan on paper stops at 90 %
    assert made.max_connections_per_gpu == 34
    assert made.binding_resource == "latency objective"


@pytest.mark.parametrize("seed", range(6))
def test_polls_near_idle_do_not_overturn_what_a_sweep_measured(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "history.db"
    provisional = [level(n, True, audit="provisional", started_at=1e6 + n) for n in (2, 4, 8)]
    before = plan(written(path, provisional, server=f"http://{SERVER}"))
    with History.writing(path) as history:
        history.polls.add(near_idle(np.random.default_rng(seed)))
    after = plan(path)
    assert before.max_connections_per_gpu == after.max_connections_per_gpu == 7
    assert after.binding_resource == "latency objective"
    assert all(end is None or end >= 8 for row in after.resources for end in (row.limit, row.low, row.high))


def near_idle(random: np.random.Generator) -> Iterator[Snapshot]:
    """A few minutes of 0 to 2 connections on a machine whose neighbours keep its processors and its memory busy."""
    for number in range(60):
        n = number % 3
        yield Snapshot(
            server=SERVER,
            at=1e6 + 60 + 5.0 * number,
            identity=IDENTITY,
            figures=ServerFigures(streams_active=n, lag_p95_seconds=0.4, gpus=1),
            gpus=(
                GpuFigures(
                    gpu_id=0, streams_active=n, memory_total_bytes=80e9, memory_used_bytes=60e9 + random.normal(4e9) * n
                ),
            ),
            host=HostFigures(
                cpu_ratio=float(np.clip(0.53 + random.normal(0.08, 0.05) * n, 0, 1)),
                memory_total_bytes=25e9,
                process_rss_bytes=20e9 + random.normal(8e8, 4e8) * n,
            ),
        )


@pytest.mark.slow
def test_after_a_sweep_every_one_of_them_is_known_within_5_percent(tmp_path: Path) -> None:
    for number, truth in enumerate(truths()):
        path = write_sweep(write_polls(tmp_path / f"{number}.db", truth, truth.capacity / 2, count=60), truth)
        capacity = plan(path).capacity
        assert capacity.status == "identified"
        assert capacity.estimate == pytest.approx(truth.capacity, rel=0.05)


def test_loads_far_below_the_limit_say_nothing_about_it(tmp_path: Path) -> None:
    made = plan(write_polls(tmp_path / "history.db", TYPICAL, 20))
    assert made.capacity.status == "lower_bound"
    assert made.max_connections_per_gpu is not None
    assert made.max_connections_per_gpu <= 20
    assert "`whisper-ops sweep asr-1:8000 --levels" in made.next_test


def test_another_version_is_another_key(tmp_path: Path) -> None:
    path = write_polls(tmp_path / "history.db", TYPICAL, 36)
    slower = msgspec.structs.replace(TYPICAL, limit=50)
    newer = msgspec.structs.replace(IDENTITY, version="1.3.0")
    with History.writing(path) as history:
        history.polls.add(polls(slower, 22, since=20_000, identity=newer))
    made = plan(path)
    assert made.key.version == "1.3.0"
    assert made.capacity.estimate == pytest.approx(slower.capacity, rel=0.2)
    assert "version 1.3.0 / 1.2.0" in made.other_keys[0]


def test_a_change_that_no_version_tells_about_is_found(tmp_path: Path) -> None:
    path = write_polls(tmp_path / "history.db", TYPICAL, 36)
    slower = msgspec.structs.replace(TYPICAL, limit=55)
    with History.writing(path) as history:
        history.polls.add(polls(slower, 26, since=9_000, seed=5))
    made = plan(path)
    assert made.capacity.estimate == pytest.approx(slower.capacity, rel=0.2)
    assert any("behaves differently" in note for note in made.notes)


def test_a_restart_and_wild_readings_change_nothing(tmp_path: Path) -> None:
    path = write_polls(tmp_path / "history.db", TYPICAL, 36, count=450)
    with History.writing(path) as history:
        restarted = [
            msgspec.structs.replace(
                one, figures=None if one.figures is None else msgspec.structs.replace(one.figures, started_at=4500.0)
            )
            for one in polls(TYPICAL, 36, count=450, since=4500.0, seed=9)
        ]
        history.polls.add(restarted)
    made = plan(path)
    assert made.capacity.estimate == pytest.approx(TYPICAL.capacity, rel=0.1)
    assert not any("behaves differently" in note for note in made.notes)


def test_a_change_point_needs_a_change() -> None:
    random = np.random.default_rng(3)
    loads = random.uniform(1, 40, 400)
    same = [PolledMean(float(i), float(n), float(n + random.normal(0, 1))) for i, n in enumerate(loads)]
    assert change_point(same) is None
    moved = [PolledMean(r.at, r.load, r.value * (1.4 if r.at >= 250 else 1.0)) for r in same]
    found = change_point(moved)
    assert found is not None
    assert 230 <= found <= 270


def test_busy_time_that_bends_is_told_from_noise() -> None:
    random = np.random.default_rng(4)
    loads = np.arange(1.0, 40.0)
    straight = [(n, 0.02 * n + random.normal(0, 0.01)) for n in loads]
    bent = [(n, 1.6 * (n / 80) / (1 + n / 80) + random.normal(0, 0.005)) for n in loads]
    assert not bends(straight)
    assert bends(bent)


def test_a_model_that_was_never_seen_is_a_sentence(tmp_path: Path) -> None:
    path = write_polls(tmp_path / "history.db", TYPICAL, 36, count=20)
    with pytest.raises(UserError, match="no level was measured") as caught:
        plan(path, model="huge")
    assert caught.value.code == Exit.EVIDENCE


def test_another_objective_moves_the_limit_without_new_measurements(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "history.db", TYPICAL)
    strict, as_measured = plan(path, objective="stable_p95_seconds<=0.7"), plan(path)
    assert strict.capacity.last_pass is not None
    assert as_measured.capacity.last_pass is not None
    assert strict.capacity.last_pass < as_measured.capacity.last_pass
    assert "p95 stable word latency" in strict.reason
    assert "> 0.70 s" in strict.reason
    for objective, sentence in (
        ("soon", "cannot read the condition"),
        ("colour<=1%", "no measure 'colour'"),
        ("ready_p95<=1s", "no level measured ready_p95"),
    ):
        with pytest.raises(UserError, match=sentence):
            plan(path, objective=objective)


def test_polls_of_a_balancer_are_each_one_servers(tmp_path: Path) -> None:
    with History.reading(write_polls(tmp_path / "history.db", TYPICAL, 40.0)) as history:
        one = make_plan(history, EvidenceRequest(), 2e6).key
        three = msgspec.structs.replace(one, servers=3, gpus=3)
        alone, behind = read_polls(history, one), read_polls(history, three)
    assert behind.peak == alone.peak > 0
    assert behind.points("host_cpu_ratio") == alone.points("host_cpu_ratio")
    assert [load for load, _ in behind.points("server_lag_p95_seconds")] == [
        load for load, _ in alone.points("server_lag_p95_seconds")
    ]


def test_polls_of_a_server_that_never_said_what_it_runs_are_no_evidence(tmp_path: Path) -> None:
    """It ended in a traceback."""
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(
            Snapshot(server="old:9090", at=10.0 + at, figures=ServerFigures(streams_active=3)) for at in range(5)
        )
        with pytest.raises(UserError, match="no measured levels") as caught:
            make_plan(history, EvidenceRequest(), 100.0)
    assert caught.value.code == Exit.EVIDENCE
