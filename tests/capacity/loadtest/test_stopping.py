"""Rules that end a level before its time, each alone: what they wait for, and what they say."""

from collections.abc import Sequence

import pytest

from capacity.loadgen.messages import LoadProgress
from capacity.loadtest.stopping import (
    FEWEST_BLOCKS,
    MOST_BLOCKS,
    AnswerKnown,
    NoEvidence,
    Overloaded,
    Stop,
    TextInTime,
    TimeLimit,
    first_stop,
)
from tests.capacity.made_levels import level
from whisper_ops.objective import parse
from whisper_ops.objective.findings import StoppedEarly

OBJECTIVE = parse("stable_p95<=2s, errors<=0.1%")


def blocks_until_known(p95s: Sequence[float], objective: str = "stable_p95<=2s") -> int:
    """How many blocks are measured when each has such a p95 and all together have their mean."""
    rule = AnswerKnown(parse(objective), {"stable_p95": 0.5})
    for count in range(1, len(p95s) + 1):
        mean = sum(p95s[:count]) / count
        if rule.on_measures({"stable_p95": p95s[count - 1]}, {"stable_p95": mean}) is not None:
            return count
    raise AssertionError("never known")


# --- when the answer is known --------------------------------------------------------------------------


@pytest.mark.parametrize("p95s", [[0.8, 0.81, 0.8], [9.0, 9.2, 9.1]])
def test_far_from_the_limit_the_fewest_blocks_do(p95s: list[float]) -> None:
    assert blocks_until_known(p95s) == FEWEST_BLOCKS


def test_a_queue_that_grows_towards_the_limit_is_waited_for() -> None:
    grows = [1.0 + 0.3 * k for k in range(MOST_BLOCKS)]
    # Its line ends beyond the limit, and what was measured does not yet.
    assert 5 <= blocks_until_known(grows) <= 9


def test_a_growth_that_stays_below_the_limit_is_none() -> None:
    assert blocks_until_known([1.0 + 0.02 * k for k in range(MOST_BLOCKS)]) == FEWEST_BLOCKS


def test_noise_around_the_limit_is_held_as_long_as_it_may_be() -> None:
    noise = [1.7, 2.4, 1.8, 2.2, 1.9, 2.3, 1.6, 2.2, 2.1, 1.8] * 2
    assert blocks_until_known(noise) == MOST_BLOCKS


def test_what_stays_open_is_said_and_what_is_sure_is_not() -> None:
    near = [1.7, 2.4, 1.8, 2.2]
    far = AnswerKnown(OBJECTIVE, {})
    stops = [far.on_measures({"stable_p95": 0.5}, {"stable_p95": 0.5}) for _ in range(FEWEST_BLOCKS)]
    assert stops == [None, None, Stop()]
    rule = AnswerKnown(parse("stable_p95<=2s, first_p95<=1s"), {})
    stops = [
        rule.on_measures({"stable_p95": near[k % 4], "first_p95": 0.1}, {"stable_p95": 1.99, "first_p95": 0.1})
        for k in range(MOST_BLOCKS)
    ]
    assert stops[:-1] == [None] * (MOST_BLOCKS - 1)
    assert stops[-1] is not None
    assert str(stops[-1].finding) == "too near stable_p95<=2s to be sure of more than this measurement"


def test_a_limit_relative_to_one_stream_counts_from_it() -> None:
    near = [0.95, 1.05, 0.98, 1.02, 1.0, 1.0, 1.01, 0.99] * 5  # one stream: 0.5 s
    assert blocks_until_known(near, "stable_p95<=+0.7s") < blocks_until_known(near, "stable_p95<=+0.5s") == MOST_BLOCKS


def test_one_condition_that_is_surely_missed_is_enough() -> None:
    rule = AnswerKnown(parse("stable_p95<=2s, first_p95<=1s"), {})
    unsure = iter([1.7, 2.4, 1.8])
    stops = [
        rule.on_measures(both := {"stable_p95": next(unsure), "first_p95": 5.0}, both) for _ in range(FEWEST_BLOCKS)
    ]
    assert stops == [None, None, Stop()]


def test_without_latencies_in_the_objective_the_fewest_blocks_do() -> None:
    rule = AnswerKnown(parse("wer<=10%"), {})
    assert [rule.on_measures({"wer": 0.2}, {"wer": 0.2}) for _ in range(FEWEST_BLOCKS)] == [None, None, Stop()]


def test_a_block_without_words_says_nothing() -> None:
    rule = AnswerKnown(parse("stable_p95<=2s"), {})
    assert not any(rule.on_measures({"stable_p95": None}, {"stable_p95": None}) for _ in range(MOST_BLOCKS - 1))
    assert rule.on_measures({"stable_p95": None}, {"stable_p95": None}) is not None


def progress(*, behind: float | None = None, failed: int = 0) -> LoadProgress:
    return LoadProgress(
        ready=4, live=4, ended=0, failed=failed, texts=9, behind_p50_seconds=behind, late_max_seconds=0.0
    )


# --- overloaded ---------------------------------------------------------------------------------------


def test_a_drowning_level_is_stopped_and_a_hiccup_is_not() -> None:
    rule = Overloaded(4, parse("stable_p95<=2s"))
    assert all(rule.on_report(progress(behind=9.0)) is None for _ in range(4))
    assert rule.on_report(progress(behind=1.0)) is None
    stops = [rule.on_report(progress(behind=9.0)) for _ in range(5)]
    assert stops[:4] == [None] * 4
    assert stops[4] is not None
    assert str(stops[4].finding) == "stopped early: half of the streams were more than 8 s behind"


def test_a_level_most_of_whose_streams_broke_is_stopped() -> None:
    rule = Overloaded(4, parse("wer<=10%"))
    stops = [rule.on_report(progress(behind=99.0, failed=3)) for _ in range(5)]
    assert stops[-1] is not None
    assert str(stops[-1].finding) == "stopped early: 3 of 4 streams were refused or broke off"
    assert Overloaded(4, parse("wer<=10%")).on_report(progress(behind=99.0)) is None


# --- warm-up -------------------------------------------------------------------------------------------


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_warm_up_ends_when_text_was_in_time_twice_in_a_row() -> None:
    clock = Clock()
    rule = TextInTime(4, 2.0, clock)
    clock.now += 3.0
    lags = [9.0, 1.0, 3.0, 1.0, 1.0]
    assert [rule.on_report(progress(behind=lag)) for lag in lags] == [None, None, None, None, Stop()]
    assert (rule.reached, rule.first_text_seconds) == (True, 3.0)


def test_text_of_some_streams_is_not_that_of_all() -> None:
    rule = TextInTime(5, 2.0)
    assert [rule.on_report(progress(behind=0.1)) for _ in range(3)] == [None] * 3
    # One that failed is not waited for.
    assert [rule.on_report(progress(behind=0.1, failed=1)) for _ in range(2)] == [None, Stop()]


def test_a_time_limit_ends_a_level_whatever_it_waits_for() -> None:
    clock = Clock()
    rule = TimeLimit(10.0, clock)
    assert rule.on_report(progress()) is None
    clock.now += 10.0
    assert rule.on_report(progress()) == Stop()


# --- no evidence, and several rules --------------------------------------------------------------------


def test_blocks_that_are_no_evidence_are_given_up_after_the_fewest() -> None:
    rule, broken = NoEvidence(), level(2, audit="invalid", passed=False)
    assert [rule.on_block(broken, broken) for _ in range(FEWEST_BLOCKS)] == [None, None, Stop()]
    unknown = level(2, audit="disturbed", passed=None)
    assert NoEvidence().on_block(unknown, unknown) == Stop()


def test_of_several_rules_all_are_asked_and_the_first_that_answers_counts() -> None:
    early = Stop(StoppedEarly(4, ended=3))
    asked: list[int] = []

    def rule(number: int, stop: Stop | None) -> Stop | None:
        asked.append(number)
        return stop

    assert first_stop(rule(number, stop) for number, stop in enumerate((None, early, Stop()))) is early
    assert asked == [0, 1, 2]
