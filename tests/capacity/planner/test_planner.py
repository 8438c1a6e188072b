"""A plan answers from audited levels of one key, says why, and says when it should not be believed."""

from pathlib import Path

import pytest

from capacity.planner import EvidenceRequest, make_plan
from tests.capacity.plan_history import OBJECTIVE, level, written
from whisper_ops.errors import Exit, UserError
from whisper_ops.history import History
from whisper_ops.objective import read_stored, readable
from whisper_ops.objective.judgement import measures_of
from whisper_ops.plan.plan_answer import five_lines
from whisper_ops.plan.plan_document import Plan
from whisper_ops.plan.plan_records import record_of

NOW = 10_000.0


def plan(path: Path, **wanted: str | float) -> Plan:
    with History.reading(path) as history:
        return make_plan(history, EvidenceRequest(**wanted), NOW)  # type: ignore[arg-type]  # names of the test's own


def chances_of(made: Plan) -> dict[int, float]:
    """Per cent by level."""
    return {seen.streams: 100 * seen.chance for seen in made.levels if seen.chance is not None}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def test_the_limit_lies_between_the_last_pass_and_the_first_fail(db: Path) -> None:
    made = plan(written(db, [level(n, n <= 80) for n in (16, 32, 48, 64, 80, 88)]))
    assert (made.capacity.last_pass, made.capacity.first_fail, made.capacity.status) == (80, 88, "identified")
    assert made.max_connections_per_gpu == 72
    assert [(tier.name, tier.connections) for tier in made.tiers] == [
        ("conservative", 40), ("moderate", 56), ("aggressive", 72), ("extreme", 88),
    ]  # fmt: skip
    assert not made.provisional
    assert "2.60 s is over 2 s" in made.reason
    assert made.binding_resource == "latency objective"


def test_a_busy_core_at_the_first_fail_is_named(db: Path) -> None:
    levels = [level(n, n <= 8, front_cpu_ratio=0.11 * n, server_busy_ratio=0.03 * n) for n in (2, 4, 8, 9)]
    assert "the server's own core was 99% busy then" in plan(written(db, levels)).reason


def test_a_pass_above_a_fail_and_a_repeat_that_flips_do_not_count_as_passed(db: Path) -> None:
    made = plan(written(db, [level(8, True), level(16, True), level(16, False), level(24, True)]))
    assert (made.capacity.last_pass, made.capacity.first_fail) == (8, 16)
    assert "Probability of passing: 8 streams " in made.sure
    chances = chances_of(made)
    assert chances[16] < chances[8]


def test_the_chance_to_pass_follows_the_law_and_the_repeats(db: Path) -> None:
    lags = {16: 0.31, 32: 0.33, 48: 0.38, 64: 0.52, 80: 1.55, 88: 5.0}
    levels = [level(n, lag <= 2, stable_p95_seconds=lag) for n, lag in lags.items()]
    chances = chances_of(plan(written(db, levels)))
    assert chances[64] > 95
    assert chances[64] > chances[80] > 50
    assert chances[88] < 15


def test_streams_of_a_server_are_shared_by_its_gpus(db: Path) -> None:
    made = plan(written(db, [level(40, True), level(80, True), level(90, False)], gpus=4))
    assert (made.capacity.last_pass, made.capacity.first_fail, made.max_connections_per_gpu) == (20, 23, 18)
    assert "--levels 84 --duration 5m" in made.next_test


def test_one_stream_over_two_gpus_that_passed_is_one_on_a_gpu(db: Path) -> None:
    made = plan(written(db, [level(1, True)], gpus=2))
    assert (made.capacity.last_pass, made.capacity.status, made.max_connections_per_gpu) == (1, "lower_bound", 1)
    assert "--levels 4`" in made.next_test
    more = plan(written(db, [level(8, False)], gpus=2))
    assert (more.capacity.last_pass, more.capacity.first_fail, more.max_connections_per_gpu) == (1, 4, 1)


def test_one_stream_that_passed_alone_does_not_speak_for_every_gpu(db: Path) -> None:
    made = plan(written(db, [level(1, True), level(2, False)], gpus=2))
    assert (made.capacity.last_pass, made.capacity.first_fail, made.max_connections_per_gpu) == (None, 1, None)
    assert five_lines(made, NOW)[0] == "Not one connection on every GPU meets the objective on this device."
    assert "1 passed while other GPUs had nothing to do, but 2 over all of them failed" in made.reason


def test_invalid_levels_say_nothing_and_are_named(db: Path) -> None:
    fake = level(64, None, audit="invalid", reason="only 19.8 of 64 streams were live", achieved_concurrency=19.8)
    made = plan(written(db, [level(8, True), level(16, False), fake]))
    assert made.capacity.last_pass == 8
    assert made.notes == ("left out as no evidence: 64: only 19.8 of 64 streams were live",)


def test_only_provisional_levels_make_a_provisional_plan_without_laws(db: Path) -> None:
    levels = [
        level(n, n < 4, audit="provisional", duration_seconds=20, gpu_memory_used_bytes=1e9 * n) for n in (1, 2, 3, 4)
    ]
    made = plan(written(db, levels))
    assert made.provisional
    assert made.max_connections_per_gpu == 2
    assert "(provisional)" in five_lines(made, NOW)[0]
    assert made.sure.startswith("provisional (4 short levels, newest ")
    memory = next(resource for resource in made.resources if resource.name == "GPU memory")
    assert memory.limit is None
    assert memory.law == "≤ 4 GB up to 4; no law"


def test_the_memory_line_can_bind_before_latency_does(db: Path) -> None:
    # The published L4: 17.68 + 0.1736 N GiB of 24 GB, full at 24 streams with every latency limit still passing.
    gib = 2**30
    levels = [level(n, True, gpu_memory_used_bytes=(17.68 + 0.1736 * n) * gib) for n in (4, 8, 12, 16, 20, 24, 28)]
    made = plan(written(db, levels, settings='{"gpu_memory_total_bytes": 24e9}'))
    assert made.binding_resource == "GPU memory"
    memory = next(resource for resource in made.resources if resource.name == "GPU memory")
    assert memory.limit is not None
    assert memory.limit == pytest.approx((24e9 * 0.95 / gib - 17.68) / 0.1736, abs=0.1)
    assert made.max_connections_per_gpu is not None
    assert made.max_connections_per_gpu < memory.limit
    assert "GPU memory" in made.reason


def test_a_processor_whose_law_is_noise_does_not_bind_and_says_what_to_measure(db: Path) -> None:
    # As a neighbour on the same machine leaves it: 53 % whatever the load is, give or take.
    busy = {1: 0.52, 2: 0.56, 4: 0.51, 8: 0.55}
    made = plan(written(db, [level(n, True, host_cpu_ratio=share) for n, share in busy.items()]))
    cpu = next(resource for resource in made.resources if resource.name == "host CPU")
    assert (cpu.limit, cpu.low, cpu.status) == (None, None, "not_identifiable")
    assert cpu.law == "not known yet; sweep up to 16 streams"
    assert (made.max_connections_per_gpu, made.binding_resource) == (7, "latency objective")


def test_memory_that_was_not_full_at_a_level_that_passed_does_not_deny_it(db: Path) -> None:
    used = {1: 18.0, 2: 18.9, 3: 20.1, 4: 20.9, 16: 21.2}
    levels = [level(n, True, gpu_memory_used_bytes=gb * 1e9) for n, gb in used.items()]
    made = plan(written(db, levels, settings='{"gpu_memory_total_bytes": 24e9}'))
    assert (made.max_connections_per_gpu, made.binding_resource) == (14, "latency objective")
    assert all(end is None or end >= 16 for row in made.resources for end in (row.limit, row.low, row.high))


def test_no_level_that_failed_is_a_lower_bound(db: Path) -> None:
    made = plan(written(db, [level(n, True) for n in (1, 2, 4)]))
    assert (made.capacity.status, made.max_connections_per_gpu) == ("lower_bound", 3)
    assert "--levels 8`" in made.next_test
    assert {tier.name: tier.connections for tier in made.tiers}["extreme"] == 4


def test_a_device_that_cannot_carry_one_stream_gets_no_limit(db: Path) -> None:
    made = plan(written(db, [level(1, False)]))
    assert made.max_connections_per_gpu is None
    assert five_lines(made, NOW)[0].startswith("Not one connection")


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ([], "holds no measured levels"),
        ([level(8, False), level(16, False)], "not even the smallest, 8"),
        ([level(8, None, audit="invalid", reason="generator 80 ms late")], "8: generator 80 ms late"),
    ],
)
def test_too_little_evidence_is_a_sentence_and_exit_code_4(db: Path, levels: list, sentence: str) -> None:  # type: ignore[type-arg]  # rows
    with pytest.raises(UserError, match=sentence) as caught:
        plan(written(db, levels))
    assert caught.value.code == Exit.EVIDENCE


def test_keys_are_never_mixed(db: Path) -> None:
    written(db, [level(8, True), level(16, False)], model="small")
    written(db, [level(40, True, started_at=2000.0), level(48, False, started_at=2000.0)])
    newest = plan(db)
    assert newest.capacity.last_pass == 40
    assert "model large-v3-turbo / small" in newest.other_keys[0]
    assert plan(db, model="small").capacity.last_pass == 8
    with pytest.raises(UserError, match=r"no level was measured with model huge; .* holds .*small") as caught:
        plan(db, model="huge")
    assert caught.value.code == Exit.EVIDENCE


def test_a_plan_is_stored_as_it_was_given(db: Path) -> None:
    made = plan(written(db, [level(8, True), level(10, False)]))
    with History.writing(db) as history:
        history.plans.add(record_of(made))
        (stored,) = history.plans.every()
    assert (stored.max_connections_per_gpu, stored.last_pass, stored.first_fail) == (7, 8, 10)
    assert '"schema":"whisper-ops/plan/1"' in stored.body


def test_shares_of_streams_are_counted_as_the_load_test_counts_them() -> None:
    # Of 10 asked, 2 were refused and 1 of the 8 that became ready failed later.
    one = level(10, True, connected=8, refused=2, failed=1)
    assert measures_of(one)["connected"] == 0.8
    assert measures_of(one)["errors"] == pytest.approx(1 / 8)
    assert measures_of(level(10, True))["connected"] is None  # an imported level does not say


def test_an_objective_is_read_and_said_in_words() -> None:
    assert read_stored(OBJECTIVE).limit("stable_p95") == 2.0
    assert read_stored(OBJECTIVE).limit("wer") is None  # it is relative to the one-stream level
    assert "p95 stable word latency ≤ 2 s" in readable(OBJECTIVE)
    assert "word error rate ≤ that of one stream + 1.5 points" in readable(OBJECTIVE)
    assert readable("what they say") == "what they say"
