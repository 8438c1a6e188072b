"""The distributions of plans, held against scipy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, stdtrit

from whisper_ops.student_t import normal_below, quantile

CHANCES = st.floats(1e-4, 1 - 1e-4)


@given(st.one_of(st.integers(1, 60), st.floats(1, 1e5)), CHANCES)
def test_a_quantile_is_scipys(freedom: float, probability: float) -> None:
    assert quantile(freedom, probability) == pytest.approx(float(stdtrit(freedom, probability)), rel=1e-8, abs=1e-10)


@given(CHANCES)
def test_with_less_than_one_degree_of_freedom_it_is_of_one(probability: float) -> None:
    assert quantile(0.0, probability) == quantile(1.0, probability)


@given(st.floats(-30, 30))
def test_a_normal_chance_is_scipys(z: float) -> None:
    assert normal_below(z) == pytest.approx(float(ndtr(z)), rel=1e-12)
