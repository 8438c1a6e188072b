"""What to measure next: possible, few, within the slots, and nothing that is known already."""

import random
import re
from pathlib import Path

import pytest

from capacity.next_levels import NextLevels, TriedLevel, ends, next_levels
from capacity.planner.evidence import EvidenceRequest
from capacity.planner.planner import make_plan
from capacity.planner.sweep_command import sweep_command, sweep_seconds
from tests.capacity.plan_history import level, sweep, written
from whisper_ops.history import History, LevelRecord
from whisper_ops.objective import DEFAULT, parse
from whisper_ops.plan.plan_document import Plan
from whisper_ops.plan_key import PlanKey
from whisper_ops.snapshot import ServerFigures, Snapshot

FEW = 3


def tried(
    passed: tuple[int, ...], failed: tuple[int, ...], *, firm: bool = True, repeats: int = 1
) -> dict[int, TriedLevel]:
    return {n: TriedLevel(passed=n in passed, firm=firm, repeats=repeats) for n in (*passed, *failed)}


@pytest.mark.parametrize(
    ("passed", "failed", "firm", "slots", "levels"),
    [
        ((1,), (8,), False, None, (2, 4)),  # it advised 1 and 8, which were measured
        ((1,), (8,), True, None, (2, 4)),
        ((4,), (8,), False, None, (4, 6, 8)),
        ((4,), (5,), False, None, (4, 5)),
        ((80,), (96,), True, None, (88,)),
        ((96,), (), True, 128, (128,)),  # it advised 192
        ((96,), (), True, None, (192,)),
        ((96,), (192,), True, 128, (128,)),  # 192 were refused, not overloaded
        ((128,), (192,), False, 128, (128,)),
        ((128,), (192,), True, 128, (128,)),  # held for long: nothing else is left to ask of it
        ((), (128,), True, None, (16, 32, 64)),
        ((), (2,), True, 1, (1,)),
        ((), (1,), True, None, ()),
    ],
)
def test_what_to_measure_next(
    passed: tuple[int, ...], failed: tuple[int, ...], firm: bool, slots: int | None, levels: tuple[int, ...]
) -> None:
    assert next_levels(tried(passed, failed, firm=firm), slots).levels == levels


def test_ends_that_are_as_near_as_may_be_are_repeated_and_then_held() -> None:
    assert next_levels(tried((7,), (8,))).levels == (7, 8)
    held = next_levels(tried((7,), (8,), repeats=3))
    assert (held.aim, held.levels, held.seconds) == ("hold", (7,), 1800)


def test_whatever_is_known_the_next_levels_are_possible_and_lead_to_the_limit() -> None:
    """Following the advice on servers of every size ends at the limit, in few levels that were not surely known."""
    chance = random.Random(1)
    for _ in range(300):
        slots, gpus = chance.choice([None, 4, 16, 128, 500]), chance.choice([1, 1, 2, 4, 8])
        most = slots or 800
        limit = chance.randint(0, int(most * 1.5))
        known = tried((), (), firm=True)
        for first in {chance.randint(1, most) for _ in range(chance.randint(1, 4))}:
            known[first] = TriedLevel(passed=first <= limit, firm=chance.random() < 0.5)
        for _ in range(60):
            advice = next_levels(known, slots, gpus)
            assert len(advice.levels) <= FEW
            assert all(1 <= n <= most or slots is None for n in advice.levels), (known, slots, advice)
            sure = {n for n, one in known.items() if one.firm}
            assert advice.soak or advice.aim == "repeat" or not sure & set(advice.levels), (known, advice)
            if advice.soak or not advice.levels:
                break
            for n in advice.levels:
                before = known.get(n)
                repeats = before.repeats + 1 if before is not None and before.firm else 1
                known[n] = TriedLevel(passed=n <= limit, firm=True, repeats=repeats)
        else:
            pytest.fail(f"never done: {known} of {slots} slots, {gpus} GPUs, limit {limit}")
        last, fail = ends(known)
        assert (last or 0) <= limit
        if fail is not None and fail <= most and last is not None:
            assert fail - last <= max(gpus, round(0.05 * last))


def made(tmp_path: Path, levels: list[LevelRecord], **changes: object) -> Plan:
    with History.reading(written(tmp_path / "h.db", levels, **changes)) as history:
        return make_plan(history, EvidenceRequest(), 5000.0)


def test_a_plan_names_the_levels_the_command_and_its_minutes(tmp_path: Path) -> None:
    short = [level(n, n < 8, audit="provisional", duration_seconds=16) for n in (1, 8)]
    plan = made(tmp_path, short)
    assert plan.next_levels == (2, 4)
    assert plan.next_seconds == 60
    assert (
        plan.next_test == "measure 2 and 4 streams for 60 s each, to close in on the limit (about 3 min): "
        "`whisper-ops sweep http://asr-1:8000 --levels 2,4`"
    )


def test_slots_that_a_later_poll_names_count(tmp_path: Path) -> None:
    path = written(tmp_path / "h.db", [level(16, True)], settings='{"slots": 16}')
    with History.writing(path) as history:
        assert make_plan(history, EvidenceRequest(), 100_000.0).next_levels == (16,)
        history.polls.add(
            Snapshot(
                server=sweep().server, at=90_000.0 + at, identity=sweep().identity,
                figures=ServerFigures(slots=24, slots_used=1, streams_active=1),
            )
            for at in range(5)
        )  # fmt: skip
        assert make_plan(history, EvidenceRequest(), 100_000.0).next_levels == (24,)


def test_the_command_measures_under_the_same_conditions() -> None:
    """Levels of another objective, chunk or protocol have another key, and would never close in on this limit."""
    key = PlanKey(
        server="asr-1:9090", protocol="whisperlive", chunk_seconds=0.25, duty_cycle=0.4, arrivals="burst",
        objective=parse("stable_p95<=3s").canonical,
    )  # fmt: skip
    said = sweep_command(key, NextLevels(aim="close_in", levels=(4, 8), seconds=300.0))
    assert said.startswith("whisper-ops sweep asr-1:9090 --levels 4,8 --duration 5m")
    for option in ("--protocol whisperlive", "--chunk 250ms", "--duty-cycle 0.4", "--arrivals burst"):
        assert option in said
    given = re.search(r"--objective '([^']+)'", said)
    assert given is not None
    assert parse(given[1]).canonical == key.objective
    usual = PlanKey(
        server="a", protocol="native", chunk_seconds=0.1, duty_cycle=1.0, arrivals="spread",
        objective=parse(DEFAULT).canonical,
    )  # fmt: skip
    assert sweep_command(usual, NextLevels(aim="firm", levels=(4,))) == "whisper-ops sweep a --levels 4"
    again = NextLevels(aim="repeat", levels=(7, 8))
    assert sweep_command(usual, again) == "whisper-ops sweep a --levels 7,8,7,8,7,8"


def test_minutes_count_the_baseline_that_the_objective_asks_for() -> None:
    advice = next_levels(tried((80,), (96,)))
    relative, absolute = (PlanKey(objective=parse(text).canonical) for text in (DEFAULT, "stable_p95<=2s"))
    assert sweep_seconds(relative, advice) > sweep_seconds(absolute, advice) + 30
