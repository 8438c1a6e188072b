"""Levels that are held until their answer is known: when that is, and what becomes of their blocks."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from capacity.corpus.clips import Corpus, load
from capacity.loadgen.messages import Finished, StreamResult
from capacity.loadgen.word_latency import WordLatency, WordScore
from capacity.loadtest.adaptive_level import LEAST_BLOCKS, MOST_BLOCKS, KnownAnswer, together
from capacity.loadtest.level import LoadShape, Measured, make_order, measured, verdict
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.strategies import LevelRequest
from capacity.loadtest.target import parse_target
from tests.capacity.double import Faults, coded_corpus, running_double
from tests.capacity.loadtest.test_runner import Quiet
from whisper_ops.history import History, LevelRecord, StreamRecord
from whisper_ops.objective import parse
from whisper_ops.objective.findings import StoppedEarly, Unsettled
from whisper_ops.objective.judgement import Baseline

OBJECTIVE = parse("stable_p95<=2s, errors<=0.1%")


def blocks_until_known(p95s: Sequence[float], objective: str = "stable_p95<=2s") -> int:
    """How many blocks are measured when each has such a p95 and all together have their mean."""
    known = KnownAnswer(parse(objective), {"stable_p95": 0.5})
    for count in range(1, len(p95s) + 1):
        mean = sum(p95s[:count]) / count
        if known.seen({"stable_p95": p95s[count - 1]}, {"stable_p95": mean}):
            return count
    raise AssertionError("never known")


# --- when the answer is known --------------------------------------------------------------------------


@pytest.mark.parametrize("p95s", [[0.8, 0.81, 0.8], [9.0, 9.2, 9.1]])
def test_far_from_the_limit_the_fewest_blocks_do(p95s: list[float]) -> None:
    assert blocks_until_known(p95s) == LEAST_BLOCKS


def test_a_queue_that_grows_towards_the_limit_is_waited_for() -> None:
    grows = [1.0 + 0.3 * k for k in range(MOST_BLOCKS)]
    # Its line ends beyond the limit, and what was measured does not yet.
    assert 5 <= blocks_until_known(grows) <= 9


def test_a_growth_that_stays_below_the_limit_is_none() -> None:
    assert blocks_until_known([1.0 + 0.02 * k for k in range(MOST_BLOCKS)]) == LEAST_BLOCKS


def test_noise_around_the_limit_is_held_as_long_as_it_may_be() -> None:
    noise = [1.7, 2.4, 1.8, 2.2, 1.9, 2.3, 1.6, 2.2, 2.1, 1.8] * 2
    assert blocks_until_known(noise) == MOST_BLOCKS


def test_what_stays_open_is_said_and_what_is_sure_is_not() -> None:
    objective, far, near = parse("stable_p95<=2s, first_p95<=1s"), KnownAnswer(OBJECTIVE, {}), [1.7, 2.4, 1.8, 2.2]
    assert [far.seen({"stable_p95": 0.5}, {"stable_p95": 0.5}) for _ in range(LEAST_BLOCKS)][-1]
    assert far.doubt is None
    known = KnownAnswer(objective, {})
    for k in range(MOST_BLOCKS):
        assert known.doubt is None
        known.seen({"stable_p95": near[k % 4], "first_p95": 0.1}, {"stable_p95": 1.99, "first_p95": 0.1})
    assert str(known.doubt) == "too near stable_p95<=2s to be sure of more than this measurement"


def test_a_limit_relative_to_one_stream_counts_from_it() -> None:
    near = [0.95, 1.05, 0.98, 1.02, 1.0, 1.0, 1.01, 0.99] * 5  # one stream: 0.5 s
    assert blocks_until_known(near, "stable_p95<=+0.7s") < blocks_until_known(near, "stable_p95<=+0.5s") == MOST_BLOCKS


def test_one_condition_that_is_surely_missed_is_enough() -> None:
    known = KnownAnswer(parse("stable_p95<=2s, first_p95<=1s"), {})
    unsure = iter([1.7, 2.4, 1.8])
    seen = [known.seen(both := {"stable_p95": next(unsure), "first_p95": 5.0}, both) for _ in range(LEAST_BLOCKS)]
    assert seen == [False, False, True]


def test_without_latencies_in_the_objective_the_fewest_blocks_do() -> None:
    known = KnownAnswer(parse("wer<=10%"), {})
    assert [known.seen({"wer": 0.2}, {"wer": 0.2}) for _ in range(LEAST_BLOCKS)] == [False, False, True]


def test_a_block_without_words_says_nothing() -> None:
    known = KnownAnswer(parse("stable_p95<=2s"), {})
    assert not any(known.seen({"stable_p95": None}, {"stable_p95": None}) for _ in range(MOST_BLOCKS - 1))
    assert known.seen({"stable_p95": None}, {"stable_p95": None})


DROWNED = StoppedEarly(2, behind_seconds=8.0)

# --- blocks as one level -------------------------------------------------------------------------------


def block(number: int, results: list[StreamResult], stopped: StoppedEarly | None = None) -> Measured:
    order = make_order(parse_target("ws://127.0.0.1:1/ws"), LoadShape(seconds=10), 2, 0, 100.0)
    begin = order.window_from + 10.0 * number
    window = msgspec.structs.replace(order, window_from=begin, window_until=begin + 10.0)
    part = Finished(tuple(results), cpu_seconds=1.0 + number, wall_seconds=10.0, number=number)
    return msgspec.structs.replace(measured(window, [part], [], number), stopped=stopped)


def stream(number: int, latency: float, outcome: str = "done", **more: object) -> StreamResult:
    result = StreamResult(
        number=number,
        outcome=outcome,
        ready_seconds=0.1,
        sent_seconds=10.0,
        live_seconds=10.0,
        latencies=(WordLatency(1.0, latency, latency),),
        score=WordScore(4, 3, 1, 0, 0),
        clip_errors={"a": (1, 4)},
        partials=5,
        lateness=(0.001,),
    )
    return msgspec.structs.replace(result, **more)


def test_blocks_come_together_as_if_they_had_been_one() -> None:
    parts = [block(k, [stream(0, 0.5 + k), stream(1, 1.5 + k)]) for k in range(3)]
    whole = together(parts, repeat=4)
    assert (whole.repeat, whole.streams, round(whole.seconds, 6)) == (4, 2, 30.0)
    assert whole.started_at == pytest.approx(parts[0].started_at, abs=0.1)
    assert [result.number for result in whole.results] == [0, 1]
    assert whole.figures.words == 6
    assert whole.figures.stable_max_seconds == 3.5
    assert whole.figures.achieved_concurrency == pytest.approx(2.0)
    assert whole.figures.partials_per_second == pytest.approx(0.5)
    assert whole.figures.wer_ratio == 0.25
    assert whole.counts.clip_errors == {"a": (6, 24)}
    assert whole.figures.generator_cpu_ratio == pytest.approx(0.3)


def test_a_place_that_was_lost_and_taken_again_is_one_that_failed() -> None:
    cut = stream(1, 0.5, "cut", error="connection lost")
    whole = together([block(0, [stream(0, 0.5), cut, stream(1, 0.5)]), block(1, [stream(0, 1.0), stream(1, 1.0)])], 0)
    assert (whole.figures.failed, whole.figures.connected) == (1, 2)
    assert whole.counts.first_error == "connection lost"
    assert [result.outcome for result in whole.results] == ["done", "cut"]


def test_what_stopped_the_last_block_stopped_the_level() -> None:
    whole = together([block(0, [stream(0, 0.5)]), block(1, [stream(0, 9.0)], DROWNED)], 0)
    assert whole.stopped == DROWNED


def test_a_doubt_stands_beside_the_answer() -> None:
    whole = together([block(k, [stream(0, 0.5), stream(1, 0.5)]) for k in range(6)], 0)
    assert verdict(whole, OBJECTIVE, Baseline()).reason == "too few words (12 of 200)"
    open_one = msgspec.structs.replace(whole, doubt=Unsettled(("stable_p95<=2s",)))
    assert verdict(open_one, OBJECTIVE, Baseline()).reason == (
        "too few words (12 of 200); too near stable_p95<=2s to be sure of more than this measurement"
    )
    drowned = msgspec.structs.replace(open_one, stopped=DROWNED)
    assert verdict(drowned, OBJECTIVE, Baseline()).reason == str(DROWNED)


# --- held on a server ----------------------------------------------------------------------------------


class Holding:
    """A plan of one level that is held."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bool | None, bool]] = []

    def next(self) -> LevelRequest | None:
        return None if self.answers else LevelRequest(2, "hold", long=True)

    def told(self, streams: int, passed: bool | None, *, long: bool, busy: float | None = None) -> None:
        self.answers.append((streams, passed, long))

    def fit(self, slots: int) -> str | None:
        return None

    @property
    def expected(self) -> tuple[LevelRequest, ...]:
        ask = self.next()
        return () if ask is None else (ask,)

    @property
    def most(self) -> int:
        return 2

    @property
    def left(self) -> int | None:
        return None

    @property
    def outcome(self) -> str | None:
        return None


class Ran(msgspec.Struct, kw_only=True):
    outcome: SweepOutcome
    stored: list[LevelRecord]
    streams: list[StreamRecord]
    answers: list[tuple[int, bool | None, bool]]
    accepted: int


async def held(
    corpus: Corpus, faults: Faults, history: Path, generator: str = "capacity.loadgen.worker", seconds: float = 2.0
) -> Ran:
    plan, options = Holding(), SweepOptions(fresh=True, generator=generator)
    shape = LoadShape(seconds=seconds, setup_seconds=3, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)
    async with running_double(faults) as double:
        with History.writing(history) as store:
            run = Sweep(store, parse_target(double.url), corpus, shape, OBJECTIVE, Quiet(), options)
            outcome = await run.run(plan)
            if outcome.state == "done":
                await asyncio.wait_for(double.empty.wait(), 5)  # nobody is left behind
            stored = store.sweeps.levels(outcome.sweep_id)
            streams = [stream for level in stored for stream in store.sweeps.streams(outcome.sweep_id, 2, level.repeat)]
    return Ran(outcome=outcome, stored=stored, streams=streams, answers=plan.answers, accepted=double.accepted)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    folder = Path(tmp_path_factory.mktemp("held"))
    corpus = load(coded_corpus(folder / "coded"))

    async def all_of_them() -> dict[str, Ran]:
        done = await asyncio.gather(
            held(corpus, Faults(), folder / "good.db"),
            held(corpus, Faults(delay_seconds=3.5), folder / "slow.db"),
            held(corpus, Faults(die_after_seconds=5.0), folder / "dies.db"),
            held(corpus, Faults(), folder / "late.db", "tests.capacity.slow_generator", 1.0),
        )
        return dict(zip(("good", "slow", "dies", "late"), done, strict=True))

    return asyncio.run(all_of_them())


def test_a_held_level_is_one_row_over_streams_that_stay(ran: dict[str, Ran]) -> None:
    good = ran["good"]
    assert good.accepted == 2
    (level,) = good.stored
    assert level.duration_seconds == pytest.approx(2.0 * LEAST_BLOCKS)
    assert (level.passed, level.wer_ratio, level.failed, level.connected) == (True, 0, 0, 2)
    assert level.achieved_concurrency == pytest.approx(2, abs=0.1)
    assert [stream.number for stream in good.streams] == [0, 1]
    assert level.words == sum(stream.words for stream in good.streams) >= 20
    assert good.answers == [(2, True, True)]


def test_a_level_whose_text_does_not_come_is_let_go_with_the_fewest_blocks(ran: dict[str, Ran]) -> None:
    (level,) = ran["slow"].stored
    assert (level.audit, level.passed) == ("invalid", False)
    assert "of the words never came" in level.reason
    assert level.duration_seconds == pytest.approx(2.0 * LEAST_BLOCKS)


def test_a_server_that_dies_under_a_held_level_ends_the_sweep_with_what_it_has(ran: dict[str, Ran]) -> None:
    dies = ran["dies"]
    assert dies.outcome.state == "failed"
    assert dies.outcome.gone
    assert [level.passed for level in dies.stored] == [False]


def test_a_generator_that_is_late_ends_a_held_level_at_once(ran: dict[str, Ran]) -> None:
    first = ran["late"].stored[0]
    assert first.audit == "invalid"
    assert "late" in first.reason
    assert first.duration_seconds < 2.0
