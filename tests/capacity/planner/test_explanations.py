"""Sentences that a plan once said against its own figures, each with the history in which it said them."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from capacity.planner import EvidenceRequest, make_plan
from capacity.reports.plan_report import brief
from capacity.reports.terminal import show
from tests.capacity.contradictions import contradictions
from tests.capacity.plan_history import level, sweep, written
from whisper_ops.errors import UserError
from whisper_ops.history import History, LevelRecord
from whisper_ops.objective import parse
from whisper_ops.objective.findings import OtherLoad, encode
from whisper_ops.objective.judgement import Baseline, rejudged
from whisper_ops.plan.plan_answer import five_lines
from whisper_ops.plan.plan_document import Plan, Resource
from whisper_ops.plan.plan_sentences import confidence, limit_text, open_ended
from whisper_ops.plan.resource_kinds import GPU_MEMORY, HOST_CPU, LATENCY, STEP_TIME
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

SETTINGS = '{"gpu_memory_total_bytes": 24e9}'


def plan(
    folder: Path, levels: list[LevelRecord], gpu: str | None = None, now: float = 5000.0, **changes: object
) -> Plan:
    path = written(folder / "history.db", levels, settings=changes.pop("settings", SETTINGS), **changes)
    with History.reading(path) as history:
        made = make_plan(history, EvidenceRequest(gpu=gpu), now)
    assert list(contradictions(made)) == []
    return made


def row(made: Plan, kind: str) -> Resource:
    found = made.resource(kind)
    assert found is not None
    return found


def report(made: Plan) -> str:
    file = io.StringIO()
    show(brief(made), Console(file=file, width=200))
    return file.getvalue()


def test_what_is_over_its_cap_with_nothing_connected_is_no_limit_of_connections(tmp_path: Path) -> None:
    """It said: host CPU 100 % + 0.045 % a connection, cap 90 %, limit 12."""
    levels = [level(n, n <= 12, host_cpu_ratio=min(1.0, 0.995 + 0.0004 * n)) for n in (1, 4, 8, 12, 16)]
    cpu = row(plan(tmp_path, levels), HOST_CPU)
    assert (cpu.limit, limit_text(cpu)) == (None, "—")
    assert cpu.law == "99.6 % at 1 already, so this cap is no limit"


def test_a_law_that_a_level_denies_gives_a_bound_and_says_so(tmp_path: Path) -> None:
    levels = [level(n, n <= 48, host_cpu_ratio=0.1 + 0.02 * min(n, 44)) for n in (10, 20, 30, 40, 48, 56)]
    cpu = row(plan(tmp_path, levels), HOST_CPU)
    assert (cpu.status, limit_text(cpu)) == ("lower_bound", "≥ 48")
    assert re.search(r" a connection: 90 % at 4\d, and 48 passed$", cpu.law)


@pytest.mark.parametrize("figures", [(12.1, 12.0, 11.9, 12.0, 11.8), (12.4, 12.2, 12.1, 11.9, 11.7)])
def test_memory_that_does_not_grow_stays_where_it_is(figures: tuple[float, ...], tmp_path: Path) -> None:
    """It was drawn as a line that falls to 0, and tiers expected 0 GB."""
    loads = (4, 8, 16, 32, 64)
    levels = [level(n, n < 64, gpu_memory_used_bytes=gb * 1e9) for n, gb in zip(loads, figures, strict=True)]
    made = plan(tmp_path, levels)
    memory = row(made, GPU_MEMORY)
    assert memory.law == "does not grow with connections"
    assert {round(y, 6) for _, y in memory.curve} == {sorted(figures)[2]}
    assert {round(tier.expected["GPU memory"], 6) for tier in made.tiers} == {sorted(figures)[2]}


def test_a_law_says_nothing_where_nothing_was_read(tmp_path: Path) -> None:
    """It expected 40 % beside a reading of 15 %: at 2 connections, from levels of 40 and more."""
    levels = [level(n, n <= 60, server_busy_ratio=0.4 + 0.005 * n) for n in (40, 50, 60, 70)]
    busy = row(plan(tmp_path, levels, max_batch=1), "gpu_busy")
    assert busy.curve
    assert busy.expected(2) is None
    assert busy.expected(50) == pytest.approx(65, abs=1)


def test_readings_that_follow_no_line_have_no_law(tmp_path: Path) -> None:
    shares = (0.15, 0.62, 0.2, 0.8, 0.15, 0.9)
    levels = [level(8 * (at + 1), at < 5, front_cpu_ratio=share) for at, share in enumerate(shares)]
    core = row(plan(tmp_path, levels), "server_core")
    assert core.limit is None
    assert core.curve == ()


def test_what_was_waited_for_is_not_next_to_bind(tmp_path: Path) -> None:
    """It said "GPU step time binds" and, in the next line, "Next to bind: GPU step time"."""
    levels = [
        level(n, n <= 40, server_busy_ratio=min(1.0, n / 44), server_batch_fill=min(16.0, n / 3),
              server_compute_p95_seconds=0.05 + 0.01 * min(16, n / 3))
        for n in (8, 16, 24, 40, 48)
    ]  # fmt: skip
    made = plan(tmp_path, levels)
    assert made.waits_for is not None
    assert made.waits_for.kind == STEP_TIME
    assert "the GPU was 100% busy then" in made.reason
    assert row(made, STEP_TIME).limit is not None
    assert made.runner_up_kind != STEP_TIME
    assert "Next limit: GPU step time" not in report(made)


def test_where_nothing_passes_nothing_with_room_for_93_binds(tmp_path: Path) -> None:
    made = plan(tmp_path, [level(1, False)], settings='{"host": {"conntrack_max": 93}}')
    assert (made.binding_kind, made.runner_up_kind, made.max_connections_per_gpu) == (LATENCY, "", None)
    assert not [line for line in report(made).splitlines() if "◀" in line and "93" in line]


def test_a_number_is_one_number_wherever_it_stands(tmp_path: Path) -> None:
    """It said "about 129" in the answer and "57 to 128" in the reason."""
    levels = [
        level(n, n < 40, gpu_memory_used_bytes=(3.1 + 0.149 * n + 0.02 * (n % 3)) * 1e9) for n in (4, 9, 17, 26, 40)
    ]
    made = plan(tmp_path, levels, gpu="L4 24GB")
    assert made.transferred_from is not None
    said = re.search(r"about (\d+) connections", five_lines(made, 5000.0)[0])
    assert said is not None
    assert f"–{said[1]} connections" in made.reason
    assert f"–{said[1]} " in report(made).partition("limit")[2]


def test_a_limit_that_was_not_reached_is_not_called_the_most(tmp_path: Path) -> None:
    """It said "at most 10" and "the limit is somewhere above"."""
    made = plan(tmp_path, [level(n, True) for n in (1, 6, 12)])
    assert open_ended(made)
    assert five_lines(made, 5000.0)[0] == "Run 10 connections per GPU for now; the limit was not reached."
    assert "somewhere above" in made.reason


def test_memory_that_is_full_ends_it_though_no_level_failed(tmp_path: Path) -> None:
    levels = [level(n, True, gpu_memory_used_bytes=(17.0 + 0.25 * n) * 1e9) for n in (4, 8, 12, 16, 20, 24, 28)]
    made = plan(tmp_path, levels)
    assert not open_ended(made)
    assert five_lines(made, 5000.0)[0].startswith("Run at most ")
    assert made.binding_kind == GPU_MEMORY
    assert made.tiers[-1].cut == "where GPU memory is full"
    assert made.tiers[-1].connections <= 24


def test_nothing_is_guaranteed_and_stable_is_what_a_long_level_showed(tmp_path: Path) -> None:
    """It said "guaranteed stable" beside a chance of 67 %."""
    short = [level(n, n < 8, audit="provisional", duration_seconds=20) for n in (1, 4, 8)]
    made = plan(tmp_path, short)
    assert made.tiers[0].stability == "expected to be stable, not measured"
    assert made.tiers[1].stability == "for production once it is measured"
    (tmp_path / "long").mkdir()
    long = plan(tmp_path / "long", [level(n, n < 8) for n in (1, 4, 8)])
    assert [tier.stability for tier in long.tiers] == [
        "stable when measured", "for production", "watch the lag", "not recommended"
    ]  # fmt: skip


def test_totals_and_limits_of_a_gpu_are_labelled(tmp_path: Path) -> None:
    made = plan(tmp_path, [level(n, n < 96) for n in (40, 80, 96)], gpus=4)
    assert "at 24 a GPU (first fail), and 20 a GPU passed" in made.reason
    assert "Probability of passing (streams on all 4 GPUs): 40 streams " in confidence(made, 5000.0)
    text = report(made)
    assert "level, 4 GPUs" in text
    assert "limit a GPU" in text


def test_newest_is_the_newest_level_and_not_a_poll(tmp_path: Path) -> None:
    path = written(tmp_path / "history.db", [level(8, True), level(16, False)])
    with History.writing(path) as history:
        ran = sweep().identity
        history.polls.add(
            Snapshot(
                server=sweep().server, at=9000.0 + at, identity=ran, figures=ServerFigures(streams_active=2),
                gpus=(GpuFigures(gpu_id=0, streams_active=2),), host=HostFigures(cpu_ratio=0.1),
            )
            for at in range(5)
        )  # fmt: skip
        made = make_plan(history, EvidenceRequest(), 10_000.0)
    assert made.polled_peak == 2
    assert made.newest_evidence_at == 1016.0 + 60.0
    assert "newest 2 h ago" in made.sure


SLOTS = "give the server more slots than its 4 (serve --max-connections-per-gpu), which all passed"
SMALLER = "if that fails too, serve a smaller model or use a faster device"


@pytest.mark.parametrize(
    ("levels", "settings", "step", "command"),
    [
        ([(1, True), (4, True), (8, False)], "{}", "4, 6 and 8 streams for 60 s each, as the levels so far were short",
         "4,6,8"),
        ([(1, True), (4, True)], "{}", "8 streams for 60 s, to find a level that fails", "8"),
        ([(1, True), (4, True)], '{"slots": 6}', "6 streams for 60 s, to find a level that fails", "6"),
        ([(1, True), (4, True)], '{"slots": 4}', f"4 streams for 60 s, then {SLOTS}", "4"),
        ([(1, False)], "{}", f"1 stream for 60 s, and {SMALLER}", "1"),
    ],
)  # fmt: skip
def test_a_provisional_plan_says_what_would_make_it_firm(
    levels: list[tuple[int, bool]], settings: str, step: str, command: str, tmp_path: Path
) -> None:
    short = [level(n, passed, audit="provisional", duration_seconds=20) for n, passed in levels]
    made = plan(tmp_path, short, settings=settings)
    assert made.provisional
    assert re.fullmatch(re.escape(f"measure {step}") + r" \(about \d+ (s|min)\)", made.next_step)
    assert made.next_command == f"whisper-ops sweep http://asr-1:8000 --levels {command}"
    assert five_lines(made, 5000.0)[4] == f"Next: {made.next_step}: `{made.next_command}`."


def test_what_ends_it_is_what_was_missed(tmp_path: Path) -> None:
    """It called "latency objective" what had missed errors or words."""
    judged = []
    for n in (4, 8, 16):
        one = level(n, None, stable_p95_seconds=0.4, connected=n, failed=4 if n == 16 else 0, wer_ratio=0.02)
        judged.append(rejudged(one, parse("errors<=1%, stable_p95<=2s"), {}, Baseline({"wer": 0.02})))
    made = plan(tmp_path, judged, objective=parse("errors<=1%, stable_p95<=2s").canonical)
    assert (made.binding_kind, made.binding_resource) == (LATENCY, "objective")
    assert row(made, LATENCY).law == "errors: last pass, first fail"
    assert "errors 25 % > 1 % at 16 (first fail)" in made.reason


def test_a_step_without_rows_takes_no_less_than_nothing(tmp_path: Path) -> None:
    rows = {n: n / 4 + 1.64 * (n / 4 - 1) ** 0.5 for n in (4, 8, 16, 24, 40)}
    levels = [
        level(n, n < 40, server_batch_fill=n / 4, server_compute_p95_seconds=0.03 * (long - 0.9))
        for n, long in rows.items()
    ]
    step = row(plan(tmp_path, levels), STEP_TIME)
    assert re.match(r"^0\.0 \+ \d\d\.\d\d ms a row, batches of 16", step.law), step.law


def test_a_short_level_that_failed_beside_a_long_one_that_passed_is_no_reason(tmp_path: Path) -> None:
    short = level(16, False, audit="provisional", duration_seconds=20, reason="a hiccup")
    made = plan(tmp_path, [level(8, True), short, level(16, True), level(32, False)])
    assert (made.capacity.last_pass, made.capacity.first_fail) == (16, 32)
    assert "hiccup" not in made.reason
    assert "at 32 (first fail), and 16 passed" in made.reason


def test_a_level_above_the_slots_says_nothing_about_the_device(tmp_path: Path) -> None:
    """It said "Run at most 121", for the streams that the slots had refused."""
    refused = level(192, False, connected=128, refused=64)
    made = plan(tmp_path, [level(64, True), level(128, True), refused], settings='{"slots": 128}')
    assert five_lines(made, 5000.0)[0] == "Run 115 connections per GPU for now; the limit was not reached."
    assert made.notes == ("left out as no evidence: 192: more than the 128 slots of the server",)
    assert "give the server more slots than its 128" in made.next_step
    (tmp_path / "lag").mkdir()
    late = level(96, False, connected=64, refused=32)  # there were slots; the lag guard refused
    assert plan(tmp_path / "lag", [level(64, True), late], settings='{"slots": 128}').capacity.first_fail == 96


def test_a_plan_rests_on_its_ends_and_not_on_short_levels_beside_them(tmp_path: Path) -> None:
    """It said "provisional", and nothing that would make it firm."""
    short = level(1, True, audit="provisional", duration_seconds=20)
    made = plan(tmp_path, [short, level(2, False)], gpus=2)
    assert not made.provisional
    assert made.next_step == "serve a smaller model or use a faster device, then sweep again"


def test_less_than_one_connection_is_none(tmp_path: Path) -> None:
    """It said "allows 0 connections" and "Run at most 1"."""
    path = written(tmp_path / "history.db", [level(1, True), level(2, False)])
    with History.reading(path) as history:
        made = make_plan(history, EvidenceRequest(gpu="L4 24GB", gpu_speed=0.1), 5000.0)
    assert list(contradictions(made)) == []
    assert five_lines(made, 5000.0)[0] == "Not one connection is to be expected on L4 24GB (provisional)."
    assert "allows less than one connection" in made.reason


def test_a_processor_is_not_called_a_gpu(tmp_path: Path) -> None:
    levels = [level(n, n < 8, server_busy_ratio=min(1.0, n / 6)) for n in (1, 2, 4, 6, 8)]
    made = plan(tmp_path, levels, gpu_name="AMD EPYC 7B13", gpus=2, max_batch=1)
    assert "the worker was 100% busy then" in made.reason
    assert "GPU" not in report(made)
    assert " 4 a worker (first fail)" in made.reason


def test_gpus_that_are_not_alike_are_said_to_be(tmp_path: Path) -> None:
    made = plan(tmp_path, [level(n, n < 96) for n in (40, 80, 96)], gpus=2, gpu_name="L4 + RTX 4090")
    assert made.notes == (
        "the GPUs are not alike (L4 + RTX 4090): the limit is that of each with as many connections as the others",
    )


def test_what_ends_far_away_is_not_the_next_limit(tmp_path: Path) -> None:
    made = plan(tmp_path, [level(n, n < 16) for n in (4, 8, 16)], settings='{"host": {"conntrack_max": 262144}}')
    assert five_lines(made, 5000.0)[2] == "Next limit: none within 10 times this one."


def test_the_device_is_to_blame_for_a_failure_that_nobody_disturbed(tmp_path: Path) -> None:
    busy = {"findings": encode((OtherLoad(0.6, counts=False),)), "audit": "disturbed"}
    made = plan(tmp_path, [level(2, None, **busy), level(1, False)])
    assert five_lines(made, 5000.0)[0] == "Not one connection meets the objective on this device."
    assert "without the other programs" not in made.next_step


def test_levels_that_are_no_evidence_are_to_be_measured_again_with_a_command(tmp_path: Path) -> None:
    """It said "sweep again", and not what had to be mended."""
    busy = {"findings": encode((OtherLoad(0.9, counts=False),)), "audit": "disturbed"}
    path = written(tmp_path / "history.db", [level(n, None, **busy) for n in (1, 2)])
    with History.reading(path) as history, pytest.raises(UserError) as caught:
        make_plan(history, EvidenceRequest(), 5000.0)
    assert str(caught.value) == (
        "none of the 2 measured levels is evidence (1, 2: other programs took 90% of the processors); sweep again "
        "without the other programs on that machine: `whisper-ops sweep http://asr-1:8000 --levels 1,2`"
    )


def test_what_other_programs_disturbed_is_called_so(tmp_path: Path) -> None:
    busy = {"findings": encode((OtherLoad(0.9, counts=False),)), "audit": "disturbed"}
    made = plan(tmp_path, [level(1, True), level(2, None, **busy)])
    assert [seen.audit for seen in made.levels] == ["valid", "disturbed"]


def test_a_law_without_a_level_that_failed_names_none(tmp_path: Path) -> None:
    made = plan(tmp_path, [level(n, True) for n in (1, 6, 12)])
    assert row(made, LATENCY).law.endswith("last pass; no level failed")
    assert made.reason == "every level up to 12 passed, so the limit is somewhere above; no level missed the objective"


def test_what_is_true_of_every_gpu_is_no_answer_for_one(tmp_path: Path) -> None:
    """It said "At most about 301,465 connections fit per L40S", by the host's table of connections alone."""
    host = '{"host": {"conntrack_max": 262144}}'
    path = written(tmp_path / "history.db", [level(1, True), level(2, False)], settings=host)
    with History.reading(path) as history, pytest.raises(UserError, match="carries over to it"):
        make_plan(history, EvidenceRequest(gpu="L40S"), 5000.0)
