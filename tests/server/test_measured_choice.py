"""The quicker of two ways, learnt."""

import pytest

from server.measured_choice import MeasuredChoice


def ways(choice: MeasuredChoice, usual_s: float, other_s: float, count: int = 200) -> list[bool]:
    """The ways that were gone while they took so long."""
    gone = []
    for _ in range(count):
        gone.append(choice.other())
        choice.measured(other_s if gone[-1] else usual_s, other=gone[-1])
    return gone


def test_the_quicker_way_is_gone_and_the_other_is_tried_again() -> None:
    gone = ways(MeasuredChoice(), 0.7, 0.4)
    assert gone[10:60] == [True] * 50
    assert 0 < gone[60:].count(False) <= 3


@pytest.mark.parametrize(("other_s", "expected"), [(0.99, False), (0.91, False), (0.89, True), (0.5, True)])
def test_the_other_way_must_save_what_it_costs_elsewhere(other_s: float, expected: bool) -> None:
    assert ways(MeasuredChoice(worth=0.1), 1.0, other_s)[10:60] == [expected] * 50


def test_what_changes_is_followed() -> None:
    choice = MeasuredChoice()
    assert ways(choice, 1.0, 2.0)[-1] is False
    assert ways(choice, 3.0, 2.0, 300)[-10:].count(True) >= 9
    assert ways(choice, 1.0, 2.0, 300)[-10:].count(False) >= 9
