"""A search in a given time: it ends in it, and with ends at most a factor of 2 apart where there is a limit."""

import math
import random
from collections.abc import Callable

import pytest

from capacity.loadtest.level_request import LevelAnswer, LevelRequest
from capacity.loadtest.timed_search import NARROW, QuickSearch, TimedSearch
from tests.capacity.simulation import LIMIT_SECONDS, draw, p95_latency


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def searched(
    plan: TimedSearch,
    clock: Clock,
    answer: Callable[[LevelRequest], bool | None],
    busy: Callable[[int], float | None] = lambda _: None,
    lateness: Callable[[LevelRequest], float] = lambda _: 0.0,
) -> list[LevelRequest]:
    asked: list[LevelRequest] = []
    while (ask := plan.next()) is not None:
        asked.append(ask)
        assert plan.expected[0] == ask
        assert ask.seconds is not None
        clock.now += ask.seconds + 4 + 2 * min((ask.streams - 1) / 4, ask.seconds / 6) + lateness(ask)
        plan.add(LevelAnswer(ask.streams, answer(ask), busy=busy(ask.streams)))
    return asked


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 13, 16, 40, 100, 300, 1000])
@pytest.mark.parametrize("guess", [None, 0.4, 1.0, 2.5])
def test_in_a_hundred_seconds_the_ends_are_a_factor_of_2_apart(limit: int, guess: float | None) -> None:
    """However wrong what one stream shows is: batches carry more than its share says, a slow start hides some."""
    clock = Clock()
    plan = TimedSearch(100.0, 12.0, clock=clock)
    busy = lambda n: None if guess is None else min(1.0, n / (guess * limit))  # noqa: E731  # one figure
    asked = searched(plan, clock, lambda ask: ask.streams <= limit, busy)
    assert clock.now <= 50.0 + 100.0
    assert asked[0].streams == 1
    low, high = plan.search.best_passing, plan.search.lowest_failing
    assert low is not None
    assert low <= limit < (high or math.inf)
    assert limit > 300 or plan.search.ratio <= NARROW, asked
    assert (f"[{low}, {high})" if high else "no level failed; 100 s were too short") in (plan.conclusion or "")


def test_ten_minutes_make_it_tight() -> None:
    for limit in (1, 7, 33, 180):
        clock = Clock()
        plan = TimedSearch(600.0, 20.0, clock=clock)
        searched(plan, clock, lambda ask, limit=limit: ask.streams <= limit)  # type: ignore[misc]  # bound now
        assert plan.search.tight
        assert plan.search.best_passing is not None
        assert plan.search.best_passing <= limit


def test_levels_are_shorter_where_time_is_short_and_none_begins_that_does_not_fit() -> None:
    clock = Clock()
    plan = TimedSearch(45.0, 20.0, clock=clock)
    asked = searched(plan, clock, lambda ask: ask.streams <= 9, lambda n: n / 9)
    assert all(8.0 <= (ask.seconds or 0) < 20.0 for ask in asked)
    assert clock.now <= 50.0 + 45.0
    nothing = TimedSearch(5.0, 20.0, clock=clock)
    assert nothing.next() is None
    assert "5 s were too short" in (nothing.conclusion or "")


def test_a_server_that_is_slow_to_end_a_level_costs_levels_and_not_the_deadline() -> None:
    clock = Clock()
    plan = TimedSearch(100.0, 12.0, clock=clock)
    searched(plan, clock, lambda ask: ask.streams <= 6, lateness=lambda ask: 10.0 if ask.streams > 6 else 0.0)
    assert clock.now <= 50.0 + 100.0 + 10.0


def test_not_even_one_stream_is_an_answer() -> None:
    clock = Clock()
    plan = TimedSearch(100.0, 12.0, clock=clock)
    assert len(searched(plan, clock, lambda _: False)) == 1
    assert plan.conclusion == "not even 1 stream met the objective"


def test_levels_without_evidence_are_tried_twice_and_then_smaller_ones() -> None:
    clock = Clock()
    plan = TimedSearch(300.0, 8.0, clock=clock)
    asked = searched(plan, clock, lambda ask: True if ask.streams < 10 else None, lambda n: n / 20)
    counts = [ask.streams for ask in asked]
    assert max(counts.count(n) for n in set(counts)) <= 2
    assert (plan.search.best_passing or 0) >= 5
    assert "more load gave no evidence" in (plan.conclusion or "")
    none_at_all = TimedSearch(300.0, 8.0, clock=Clock())
    assert len(searched(none_at_all, Clock(), lambda _: None)) == 2
    assert "no level gave an answer" in (none_at_all.conclusion or "")


def test_a_pass_above_a_failure_is_luck() -> None:
    answers = ((4, True), (8, False), (16, True), (8, True))
    search = QuickSearch(answers=tuple(LevelAnswer(streams, passed) for streams, passed in answers))
    assert (search.best_passing, search.lowest_failing) == (4, 8)


def test_the_slots_end_it() -> None:
    clock = Clock()
    plan = TimedSearch(200.0, 8.0, clock=clock)
    assert "16 slots" in (plan.fit(16) or "")
    searched(plan, clock, lambda _: True)
    assert plan.search.best_passing == 16
    assert plan.conclusion == "16 streams met the objective, and no level failed: that is every slot of the server"


def test_on_simulated_servers_a_short_search_ends_narrow() -> None:
    """Short levels of real queues, whose answers are noisy, over two decades of speed."""
    narrow, most = 0, 30
    for seed in range(most):
        law, clock, chance = draw(1000 + seed), Clock(), random.Random(seed)
        plan = TimedSearch(100.0, 10.0, clock=clock)

        def answer(ask: LevelRequest, law=law, chance=chance) -> bool:  # type: ignore[no-untyped-def]  # noqa: ANN001  # bound now
            return p95_latency(law, ask.streams, ask.seconds or 1, chance.randrange(10**6)) <= LIMIT_SECONDS

        searched(plan, clock, answer)
        assert clock.now <= 150.0
        narrow += plan.search.ratio <= NARROW or plan.search.tight
        assert plan.search.ratio >= 1 or math.isinf(plan.search.ratio)
    assert narrow >= 0.8 * most
