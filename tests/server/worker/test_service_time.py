"""T(B, c) learnt from batches, and what becomes of it: rows a batch and the streams' cadence."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.worker.service_time import LONGEST_SECONDS, SHARE, SLOWEST_SECONDS, ServiceTime


def _taught(a: float, b: float, rows: list[int], contexts: list[float], noise: float = 0.0) -> ServiceTime:
    found, rng = ServiceTime(2, 64), random.Random(1)
    for i in range(200):
        size, context_s = rows[i % len(rows)], contexts[i % len(contexts)]
        found.decoded(size, context_s, (a + b * size * context_s) * rng.uniform(1 - noise, 1 + noise))
    return found


def test_a_law_is_found_again_from_noisy_batches() -> None:
    found = _taught(0.02, 0.0005, [1, 4, 9, 30, 64], [4.0, 6.0, 8.0], noise=0.1)
    for rows in (1, 20, 64):
        assert found.seconds(rows) == pytest.approx(0.02 + 0.0005 * rows * 6.0, rel=0.15)


def test_batches_of_one_size_are_taken_in_proportion() -> None:
    found = _taught(0.0, 0.001, [8], [4.0])
    assert found.seconds(16) == pytest.approx(0.064)


def test_too_few_batches_say_nothing_and_nothing_is_changed() -> None:
    found = ServiceTime(2, 64)
    assert found.seconds(8) is None
    assert (found.rows(), found.cadence(0.5, 1000)) == (64, 0.5)


def test_a_card_that_becomes_slower_is_followed() -> None:
    found = _taught(0.02, 0.0005, [1, 9, 64], [4.0])
    before = found.seconds(64)
    for _ in range(150):
        for rows in (1, 9, 64):
            found.decoded(rows, 4.0, 3 * (0.02 + 0.0005 * rows * 4.0))
    assert before is not None
    assert found.seconds(64) == pytest.approx(3 * before, rel=0.05)


def test_a_cadence_leaves_the_engine_room_for_finals() -> None:
    found = _taught(0.02, 0.0005, [1, 9, 64], [4.0])
    took = found.seconds(64)
    assert took is not None
    a_second = 2 * 64 / took
    assert found.cadence(0.5, 10) == 0.5
    speaking = round(a_second)
    assert found.cadence(0.5, speaking) == pytest.approx(1 / SHARE, rel=0.01)
    assert found.cadence(0.5, 100 * speaking) == SLOWEST_SECONDS


def test_no_batch_takes_so_long_that_a_final_waits_for_it() -> None:
    found = _taught(0.1, 0.005, [1, 9, 30], [4.0])
    rows = found.rows()
    assert 1 <= rows < 64
    took = found.seconds(rows)
    assert took is not None
    assert took <= LONGEST_SECONDS


@pytest.mark.parametrize("a", [0.02, 0.2, 3.0])
def test_an_engine_that_is_slow_to_begin_is_not_made_slower_still(a: float) -> None:
    """With one row a batch, as its length alone would have it, an overloaded server would say nothing any more."""
    found = _taught(a, 0.01, [1, 9, 30], [4.0])

    def rate(rows: int) -> float:
        took = found.seconds(rows)
        assert took is not None
        return rows / took

    assert rate(found.rows()) >= 0.7 * rate(64)


@pytest.mark.parametrize(("each_s", "rows"), [(0.06, 8), (0.15, 6), (0.4, 4), (3.0, 4)])
def test_more_than_a_few_rows_go_together_where_that_takes_no_second(each_s: float, rows: int) -> None:
    found = ServiceTime(2, 8)
    assert found.rows_in_time() == 8
    assert _usual(found, [each_s * 1.3] * 5 + [each_s] * 4) == rows
    assert _usual(found, [0.08] * 5 + [0.06] * 4, 300) == 8


@pytest.mark.parametrize(("few_s", "rows"), [(0.060, 4), (0.064, 4), (0.070, 8), (0.080, 8)])
def test_larger_batches_are_taken_where_they_save_time(few_s: float, rows: int) -> None:
    found = ServiceTime(2, 8)
    times = [few_s] * 5 + [0.06] * 4
    assert _usual(found, times) == rows
    # Another load: the other size is tried again and again.
    assert _usual(found, [0.08] * 5 + [0.06] * 4, 300) == 8
    assert _usual(found, [0.06] * 9, 300) == 4


def _usual(found: ServiceTime, row_seconds: list[float], batches: int = 200) -> int:
    """The batch size that it mostly comes to where rows take so long, by how many go together."""
    sizes = []
    for _ in range(batches):
        sizes.append(found.rows_in_time())
        found.decoded(sizes[-1], 6.0, sizes[-1] * row_seconds[sizes[-1]])
    return max(sizes[-100:], key=sizes[-100:].count)


@given(
    st.lists(st.tuples(st.integers(1, 64), st.sampled_from([4.0, 8.0, 30.0]), st.floats(0, 100)), max_size=30),
    st.integers(0, 2000),
)
def test_whatever_was_seen_the_answer_is_within_bounds(seen: list[tuple[int, float, float]], speaking: int) -> None:
    found = ServiceTime(2, 64)
    for batch in seen:
        found.decoded(*batch)
    assert 1 <= found.rows() <= 64
    assert 0.5 <= found.cadence(0.5, speaking) <= SLOWEST_SECONDS
