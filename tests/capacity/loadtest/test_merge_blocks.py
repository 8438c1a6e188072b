"""Blocks of a level put together as one."""

import msgspec
import pytest

from capacity.loadgen.messages import Finished, StreamResult
from capacity.loadgen.word_latency import WordLatency, WordScore
from capacity.loadtest.level import LoadShape, MeasuredLevel, judge_level, make_order, measure_level
from capacity.loadtest.merge_blocks import merge_blocks
from capacity.loadtest.target import parse_target
from whisper_ops.objective import parse
from whisper_ops.objective.findings import StoppedEarly, Unsettled
from whisper_ops.objective.judgement import Baseline

OBJECTIVE = parse("stable_p95<=2s, errors<=0.1%")
DROWNED = StoppedEarly(2, behind_seconds=8.0)


def block(number: int, results: list[StreamResult], stopped: StoppedEarly | None = None) -> MeasuredLevel:
    order = make_order(parse_target("ws://127.0.0.1:1/ws"), LoadShape(seconds=10), 2, 0, 100.0)
    begin = order.window_from + 10.0 * number
    window = msgspec.structs.replace(order, window_from=begin, window_until=begin + 10.0)
    part = Finished(tuple(results), cpu_seconds=1.0 + number, wall_seconds=10.0, number=number)
    return msgspec.structs.replace(measure_level(window, [part], [], number), stop=stopped)


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
    whole = merge_blocks(parts, repeat=4)
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
    whole = merge_blocks(
        [block(0, [stream(0, 0.5), cut, stream(1, 0.5)]), block(1, [stream(0, 1.0), stream(1, 1.0)])], 0
    )
    assert (whole.figures.failed, whole.figures.connected) == (1, 2)
    assert whole.counts.first_error == "connection lost"
    assert [result.outcome for result in whole.results] == ["done", "cut"]


def test_what_stopped_the_last_block_stopped_the_level() -> None:
    whole = merge_blocks([block(0, [stream(0, 0.5)]), block(1, [stream(0, 9.0)], DROWNED)], 0)
    assert whole.stop == DROWNED


def test_a_doubt_stands_beside_the_answer() -> None:
    whole = merge_blocks([block(k, [stream(0, 0.5), stream(1, 0.5)]) for k in range(6)], 0)
    assert judge_level(whole, OBJECTIVE, Baseline()).reason == "too few words (12 of 200)"
    open_one = msgspec.structs.replace(whole, stop=Unsettled(("stable_p95<=2s",)))
    assert judge_level(open_one, OBJECTIVE, Baseline()).reason == (
        "too few words (12 of 200); too near stable_p95<=2s to be sure of more than this measurement"
    )
    drowned = msgspec.structs.replace(open_one, stop=DROWNED)
    assert judge_level(drowned, OBJECTIVE, Baseline()).reason == str(DROWNED)
