"""No sentence of a plan contradicts a figure of the same plan, whatever was measured."""

from contextlib import suppress

import pytest

from capacity.fleet.plan_with_fleet import with_fleet
from capacity.planner.planner import plan_from
from capacity.planner.transfer import transferred
from tests.capacity.contradictions import contradictions
from tests.capacity.made_up import demand, history
from whisper_ops.errors import UserError
from whisper_ops.plan.plan_document import Plan


def planned(seed: int) -> tuple[list[Plan], int | None]:
    """The plan of a made-up history, the one for a GPU that was never measured, and both with a fleet; the slots.

    Fewer where there is none.
    """
    evidence, caps = history(seed)
    made: list[Plan] = []
    with suppress(UserError):
        made.append(plan_from(evidence, caps, 100_000.0))
        made.append(transferred(made[0], evidence, caps, "L4 24GB", (None, 0.5, 2.0)[seed % 3]))
    return [*made, *(with_fleet(plan, demand(seed)) for plan in made)], evidence.slots


def contradicted(seeds: range) -> tuple[int, dict[int, list[str]]]:
    """How many histories gave a plan, and what was wrong with each."""
    count, found = 0, {}
    for seed in seeds:
        plans, slots = planned(seed)
        count += bool(plans)
        if told := [what for plan in plans for what in contradictions(plan, slots)]:
            found[seed] = told
    return count, found


def test_no_sentence_contradicts_a_figure() -> None:
    count, found = contradicted(range(25))
    assert found == {}
    assert count >= 20


@pytest.mark.slow
def test_no_sentence_contradicts_a_figure_of_seven_hundred_histories() -> None:
    count, found = contradicted(range(25, 900))
    assert found == {}
    assert count >= 700
