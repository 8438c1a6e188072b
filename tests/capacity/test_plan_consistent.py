"""No sentence of a plan contradicts a figure of the same plan, whatever was measured."""

import pytest

from capacity.plan.build import plan_from
from capacity.plan.transfer import transferred
from tests.capacity.contradictions import contradictions
from tests.capacity.made_up import history
from whisper_ops.errors import UserError
from whisper_ops.plan_document import Plan


def planned(seed: int) -> Plan | None:
    evidence, caps = history(seed)
    try:
        return plan_from(evidence, caps, 100_000.0)
    except UserError:
        return None


def elsewhere(seed: int) -> Plan | None:
    """The same for a GPU that was never measured."""
    evidence, caps = history(seed)
    try:
        plan = plan_from(evidence, caps, 100_000.0)
        return transferred(plan, evidence, caps, "L4 24GB", [None, 0.5, 2.0][seed % 3])
    except UserError:
        return None


def held(seeds: range) -> dict[int, list[str]]:
    found = {}
    for seed in seeds:
        for plan in (planned(seed), elsewhere(seed)):
            if plan is not None and (told := list(contradictions(plan))):
                found[seed] = told
    return found


def test_no_sentence_contradicts_a_figure() -> None:
    assert held(range(25)) == {}


@pytest.mark.slow
def test_no_sentence_contradicts_a_figure_of_five_hundred_histories() -> None:
    made = [planned(seed) for seed in range(700)]
    assert sum(plan is not None for plan in made) >= 500
    assert held(range(700)) == {}
