"""The answer in five lines: of every kind of plan, and of what older versions stored."""

import pytest

from whisper_ops.plan.plan_answer import answered, five_lines, fleet_figures
from whisper_ops.plan.plan_document import Capacity, JudgedLevel, Plan, PlannedFleet, Resource
from whisper_ops.plan.plan_sentences import probability
from whisper_ops.plan_key import PlanKey

NOW = 10_000.0
KEY = PlanKey(server="asr-1:8000", gpu_name="H100 80GB")
LEVELS = (
    JudgedLevel(streams=1, repeats=1, passes=1, audit="provisional", chance=0.67),
    JudgedLevel(streams=8, repeats=1, passes=0, audit="provisional", chance=0.33),
)
MADE = Plan(
    created_at=NOW - 6,
    server="asr-1:8000",
    key=KEY,
    provisional=True,
    max_connections_per_gpu=7,
    safe_limit=8,
    reason="it is so",
    cut="90% of 8, rounded down",
    next_test="measure 2 and 4 streams: `whisper-ops sweep asr-1:8000 --levels 2,4`",
    next_step="measure 2 and 4 streams",
    next_command="whisper-ops sweep asr-1:8000 --levels 2,4",
    runner_up_kind="host_cpu",
    capacity=Capacity(last_pass=8, first_fail=16, status="identified"),
    resources=(Resource(kind="host_cpu", limit=70.4, status="identified"),),
    levels=LEVELS,
    newest_evidence_at=NOW - 6,
)


def changed(**fields: object) -> Plan:
    return Plan(**{name: getattr(MADE, name) for name in MADE.__struct_fields__} | fields)


CONFIDENCE = (
    "Confidence: provisional (2 short levels, newest 6 s ago). Probability of passing: 1 stream 67 %, 8 streams 33 %."
)


def test_five_lines_answer_why_next_limit_how_sure_and_what_now() -> None:
    assert five_lines(MADE, NOW) == (
        "Run at most 7 connections per GPU (provisional).",
        "Why: it is so. 90% of 8, rounded down.",
        "Next limit: host CPU, at 70 connections per GPU.",
        CONFIDENCE,
        "Next: measure 2 and 4 streams: `whisper-ops sweep asr-1:8000 --levels 2,4`.",
    )


def test_what_an_older_version_stored_has_five_lines_too() -> None:
    words = Plan(max_connections_per_gpu=7, reason="it is so", sure="as sure as it was", next_test="one level at 84.")
    assert five_lines(words, NOW)[2:] == (
        "Next limit: no other is known.",
        "Confidence: as sure as it was.",
        "Next: one level at 84.",
    )
    columns = Plan(max_connections_per_gpu=7, reason="it is so.")
    assert five_lines(columns, NOW)[1:] == (
        "Why: it is so.",
        "Next limit: no other is known.",
        "Confidence: not known.",
        "Next: plan again, as another version made this plan: `whisper-ops plan`.",
    )


def test_the_next_command_measures_into_the_history_that_was_read() -> None:
    from pathlib import Path

    assert answered(MADE, NOW, Path("my night.db")).command.endswith(" --levels 2,4 --history 'my night.db'")


@pytest.mark.parametrize(
    ("fleet", "why"),
    [
        ({"calls": 2000, "per_gpu": 43, "gpus": 56, "machines": 7, "spare_machines": 1},
         "2,000 calls at 43 each need 47 GPUs, so 6 machines of 8, and 1 more machine may be lost"),
        ({"calls": 48, "per_gpu": 6, "gpus": 8, "machines": 1},
         "48 calls at 6 each need 8 GPUs, so 1 machine of 8"),
        ({"calls": 1, "per_gpu": 6, "gpus": 3, "machines": 3, "spare_machines": 2},
         "1 call at 6 each needs 1 GPU, and 2 more machines may be lost"),
    ],
)  # fmt: skip
def test_a_fleet_says_why_it_is_not_the_quotient(fleet: dict[str, int], why: str) -> None:
    made = PlannedFleet(**{"spare_machines": 0, "slots": 0, "slots_after_loss": 0} | fleet)  # type: ignore[arg-type]
    lines = five_lines(changed(fleet=made), NOW)
    assert lines[1] == f"Why: {why}. {made.per_gpu} each, because it is so. 90% of 8, rounded down."
    assert fleet_figures(made) == ""


def test_of_a_processor_workers_are_counted() -> None:
    made = PlannedFleet(calls=20, per_gpu=7, gpus=3, machines=3, spare_machines=0, slots=21, slots_after_loss=21)
    answer = five_lines(changed(fleet=made, key=PlanKey(server="a", gpu_name="CPU")), NOW)[0]
    assert answer == (
        "For 20 concurrent calls: 3 workers on 3 machines, "
        "with at most 7 connections per worker (on the CPU) (provisional)."
    )


def test_what_was_measured_a_few_times_is_never_quite_sure() -> None:
    assert [probability(share) for share in (0.0, 0.26, 0.994, 0.9999)] == ["under 1 %", "26 %", "99 %", "over 99 %"]
