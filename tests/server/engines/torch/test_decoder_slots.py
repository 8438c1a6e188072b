"""Rows in static slots: whatever joins, leaves or breaks beside a row, it says what it says alone."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from server.engines.torch.cpu_runtime import CpuRuntime  # noqa: E402
from server.engines.torch.decode_rows import PoisonedError, loops  # noqa: E402
from server.engines.torch.device_runtime import DECODE, ENCODE  # noqa: E402
from server.engines.torch.features import Features  # noqa: E402
from server.engines.torch.pipeline import _PendingTokens  # noqa: E402
from server.engines.torch.shapes import TEXT_POSITIONS  # noqa: E402
from server.engines.torch.whisper_model import TorchWhisper  # noqa: E402
from tests.server.engines.torch.toy import SHAPE, START, TOKENS, Asked, Bench, alone, sound, talkative  # noqa: E402

SOME = [Asked(seed, seconds=0.5 + seed / 4, cap=6 + 5 * seed) for seed in range(4)]


@cache
def _alone(seed: int, seconds: float, cap: int, prefix: tuple[int, ...] = ()) -> Any:
    return alone(Asked(seed, seconds, cap, prefix))


def _each_alone(asked: Sequence[Asked]) -> list[Any]:
    return [_alone(one.seed, one.seconds, one.cap, one.prefix) for one in asked]


def test_rows_say_different_things_and_end_by_their_cap_or_by_themselves() -> None:
    said = _each_alone(SOME)
    assert all(isinstance(text, list) for text in said)
    assert len({tuple(text) for text in said}) == len(said)
    assert all(0 < len(text) <= one.cap for text, one in zip(said, SOME, strict=True))
    never = {TOKENS.eot, *TOKENS.suppressed}
    assert not any(never & set(text) for text in said)
    assert not any(text[0] in TOKENS.suppressed_first for text in said)


def _by_whole_passes(asked: Asked, context_s: float) -> tuple[list[int], float]:
    """Greedy decoding without slots, steps or anything kept: the whole text again for each token."""
    model, frames = TorchWhisper(talkative()), round(context_s * 100)
    runtime = CpuRuntime()
    with runtime.lane(ENCODE):
        features = Features(runtime, SHAPE.mels, 4).batch([None], [sound(asked.seed, asked.seconds)], frames)
    cross = torch.zeros((2, 2, 1, 2, frames // 2, 16), dtype=torch.float64)
    model.write_cross(model.encode(features.double()), cross)
    said: list[int] = []
    total = 0.0
    while len(said) < asked.cap:
        logits = model.logits(model.prompt(torch.tensor([START + said]), cross))[0, -1]
        logits[list(TOKENS.suppressed) + ([] if said else list(TOKENS.suppressed_first))] = float("-inf")
        chances = logits.log_softmax(-1)
        token = int(chances.argmax())
        total += float(chances[token])
        if token == TOKENS.eot:
            break
        said.append(token)
    return said, total / max(1, len(said))


@pytest.mark.parametrize("seed", [0, 1, 5, 14])
@pytest.mark.parametrize("context_s", [4.0, 8.0])
def test_steps_say_what_whole_passes_over_the_text_say(seed: int, context_s: float) -> None:
    asked = Asked(seed, cap=30)
    bench = Bench()
    (said,) = bench.said([asked], context_s)
    expected, chance = _by_whole_passes(asked, context_s)
    assert said == expected
    assert bench.chances[0] == pytest.approx(chance, rel=1e-5)


ROWS = st.builds(
    Asked,
    seed=st.integers(0, 5),
    seconds=st.sampled_from([0.4, 1.0, 2.5]),
    cap=st.sampled_from([1, 2, 9, 30]),
    prefix=st.sampled_from([(), (3,), (5, 4, 3, 11, 12)]),
)


@given(plan=st.lists(st.tuples(st.lists(ROWS, min_size=1, max_size=4), st.integers(0, 12)), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_rows_that_join_and_leave_at_any_time_say_what_they_say_alone(plan: list[tuple[list[Asked], int]]) -> None:
    bench, number, expected = Bench(), 0, []
    for asked, turns in plan:
        bench.put(asked, number)
        number += len(asked)
        expected += _each_alone(asked)
        bench.turn(turns)
    bench.finish()
    assert [bench.told[i] for i in range(number)] == expected
    assert sorted(bench.pipeline._free) == list(range(bench.slots_count))


def test_contexts_of_different_lengths_are_decoded_side_by_side() -> None:
    bench = Bench()
    bench.put([Asked(1, cap=30)], 0, 4.0)
    bench.turn(4)
    bench.put([Asked(2, cap=12)], 1, 8.0)
    bench.finish()
    assert bench.told == {0: alone(Asked(1, cap=30), 4.0), 1: alone(Asked(2, cap=12), 8.0)}


def _fill(bench: Bench, value: float) -> None:
    for buffer in (bench.slots.own, bench.slots.cross, bench.slots._staged, bench.slots._prompted, bench.slots._mel):
        buffer.fill_(value)


def test_what_stands_in_unused_slots_changes_nothing_not_even_a_nan() -> None:
    bench = Bench()
    _fill(bench, float("nan"))
    assert bench.said(SOME[:2]) == _each_alone(SOME[:2])
    assert bench.said(SOME) == _each_alone(SOME)
    # Beside a row of a longer context, what stands after the shorter one's is read too, and must count for nothing.
    bench = Bench()
    _fill(bench, float("nan"))
    bench.put([SOME[2]], 0, 8.0)
    bench.turn(2)
    bench.put([SOME[3]], 1, 4.0)
    bench.finish()
    assert bench.told == {0: alone(SOME[2], 8.0), 1: _each_alone(SOME[3:])[0]}


def test_a_batch_that_is_filled_up_to_a_larger_size_says_the_same() -> None:
    plain = Bench()
    filled = Bench(slots_count=8, rows=8)
    filled.slots.batches = (8,)
    _fill(filled, float("nan"))
    assert filled.said(SOME[:3]) == plain.said(SOME[:3]) == _each_alone(SOME[:3])
    assert filled.chances == pytest.approx(plain.chances)


def test_a_poisoned_row_is_lost_alone_and_its_slot_serves_again() -> None:
    bench = Bench()
    poisoned = Asked(0, audio=np.full(8000, np.nan, np.float32))
    said = bench.said([SOME[0], poisoned, SOME[2], SOME[3]])
    assert isinstance(said[1], PoisonedError)
    assert [said[0], *said[2:]] == _each_alone([SOME[0], SOME[2], SOME[3]])
    assert bench.said(SOME) == _each_alone(SOME)


def test_of_a_row_that_failed_no_frames_are_kept() -> None:
    bench = Bench()
    good = Asked(2, cap=9, stream=7)
    broken = replace(good, audio=np.full(16000, np.nan, np.float32))
    first, again = bench.said([broken]), bench.said([good])
    assert isinstance(first[0], PoisonedError)
    assert again == [alone(Asked(2, cap=9))]


def test_a_forced_beginning_is_one_pass_and_goes_on_as_the_same_tokens_would() -> None:
    whole = _alone(3, 1.25, 21)
    steps = Bench()
    steps.said([Asked(3, 1.25, 21)])
    forced = Bench()
    assert forced.said([Asked(3, 1.25, 21 - 12, tuple(whole[:12]))]) == [whole[12:]]
    assert steps.pipeline.counts.steps - forced.pipeline.counts.steps == 12
    assert forced.pipeline.counts.forced == 12


def test_a_text_begun_by_a_prefix_may_end_at_once() -> None:
    """What must not come first, must not come first in the text; after forced words the end may."""
    bench = Bench()
    with torch.inference_mode():
        bench.slots._suppressed.fill_(float("-inf"))
        bench.slots._suppressed[TOKENS.eot] = 0.0
    assert bench.said([Asked(1, prefix=(3, 4))]) == [[]]


def test_no_row_stands_beyond_the_last_position() -> None:
    most = TEXT_POSITIONS - len(START) - 1
    bench = Bench()
    with torch.inference_mode():
        bench.slots._suppressed[TOKENS.eot] = float("-inf")
        bench.slots._suppressed[:40] = 0.0
    (said,) = bench.said([Asked(5, cap=most)])
    assert isinstance(said, list)
    assert len(said) == most or loops(said)
    assert int(bench.slots.positions.max()) < TEXT_POSITIONS


class Scarce(CpuRuntime):
    """A device whose memory does not hold more than so many rows at once."""

    most = 2
    shrunk = 0

    def replay(self, key: Any, fn: Callable[..., None], buffers: Sequence[Any], lane: str = "decode") -> None:
        if key[0] == "encode" and key[1] > self.most:
            raise torch.OutOfMemoryError("out of memory")
        super().replay(key, fn, buffers, lane)

    def shrink(self) -> None:
        self.shrunk += 1
        super().shrink()


def test_a_batch_that_does_not_fit_into_memory_is_decoded_in_parts() -> None:
    runtime = Scarce()
    bench = Bench(runtime=runtime)
    assert bench.said(SOME) == _each_alone(SOME)
    assert runtime.shrunk > 0


PLACES = ("features", "encode", "admit", "step", "upload", "download", "tokens", "rehearsal")


class Sudden(CpuRuntime):
    """Memory runs out at one place, so many times, in one of torch's ways to say so."""

    def __init__(self, place: str, times: int, error: Exception) -> None:
        super().__init__()
        self.place, self.left, self.error = place, times, error
        self.held: list[Any] = []

    def _at(self, place: str) -> None:
        if place == self.place and self.left:
            self.left -= 1
            big = torch.zeros(3)
            self.held.append(weakref.ref(big))
            raise self.error

    def replay(self, key: Any, fn: Callable[..., None], buffers: Sequence[Any], lane: str = "decode") -> None:
        self._at(key[0])
        if (lane, key) not in self._graphs._cached:
            self._at("rehearsal")
        super().replay(key, fn, buffers, lane)

    def upload(self, target: Any, source: Any) -> None:
        self._at("features" if self._lane == ENCODE else "upload")
        super().upload(target, source)

    def download(self, source: Any) -> Any:
        self._at("tokens" if len(source) == 2 else "download")
        return super().download(source)

    def shrink(self) -> None:
        # What failed must be gone by now, or there is nothing to give back.
        assert all(each() is None for each in self.held)
        super().shrink()


ERRORS = (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), MemoryError())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("times", [1, 2])
def test_memory_that_runs_out_anywhere_costs_the_newest_rows_at_most(place: str, times: int, error: Exception) -> None:
    """Rows of before say what they say alone: nothing is skipped, and nothing is said twice."""
    runtime = Sudden("", times, error)
    bench = Bench(runtime=runtime)
    older, newer = [Asked(1, cap=30), Asked(3, cap=26)], [Asked(2, cap=9), Asked(0, cap=12)]
    bench.put(older, 0)
    bench.turn(4)
    runtime.place = place
    taken = bench.put(newer, 2)
    bench.finish()
    assert runtime.left == 0, "the place was never reached"
    assert taken.is_set()
    lost = [number for number, found in bench.told.items() if isinstance(found, Exception)]
    assert len(bench.told) == 4
    # A step's row that is lost is the newest of those in work when it happens.
    assert len(lost) <= times
    assert 0 not in lost
    assert not ({1} & set(lost)) or place in ("step", "tokens", "rehearsal")
    for number, asked in enumerate([*older, *newer]):
        if number not in lost:
            assert bench.told[number] == _alone(asked.seed, asked.seconds, asked.cap)
    assert sorted(bench.pipeline._free) == list(range(bench.slots_count))
    assert bench.said(SOME) == _each_alone(SOME)


@pytest.mark.parametrize("place", ["features", "encode", "admit", "upload", "download"])
def test_without_any_memory_left_the_newest_row_is_lost_and_the_others_go_on(place: str) -> None:
    runtime = Sudden("", 100, torch.OutOfMemoryError("out of memory"))
    bench = Bench(runtime=runtime)
    bench.put([Asked(1, cap=30)], 0)
    bench.turn(3)
    runtime.place = place
    taken = bench.put([Asked(2), Asked(3)], 1)
    while len(bench.told) < 2:
        bench.turn()
    runtime.place = ""
    bench.finish()
    assert taken.is_set()
    assert isinstance(bench.told[1], torch.OutOfMemoryError)
    assert isinstance(bench.told[2], torch.OutOfMemoryError)
    assert bench.told[0] == alone(Asked(1, cap=30))


def test_a_row_that_has_said_everything_is_not_lost_for_want_of_memory_for_its_times() -> None:
    bench, ended = Bench(), []
    finish = bench.pipeline._finish

    def once(work: Any) -> None:
        ended.append(work)
        if len(ended) == 1:
            raise torch.OutOfMemoryError("out of memory")
        finish(work)

    bench.pipeline._finish = once
    assert bench.said(SOME) == _each_alone(SOME)


def test_a_device_that_cannot_even_give_memory_back_loses_no_thread() -> None:
    class Stuck(CpuRuntime):
        def shrink(self) -> None:
            raise RuntimeError("INTERNAL ASSERT FAILED: captures_underway.empty()")

        def replay(self, key: Any, fn: Callable[..., None], buffers: Sequence[Any], lane: str = "decode") -> None:
            if key[:2] == ("encode", 4):
                raise torch.OutOfMemoryError("out of memory")
            super().replay(key, fn, buffers, lane)

    assert Bench(runtime=Stuck()).said(SOME) == _each_alone(SOME)


def test_a_failure_that_nobody_expected_loses_the_rows_in_work_and_the_next_ones_are_served() -> None:
    class Unreadable(CpuRuntime):
        fails = True

        def download(self, source: Any) -> Any:
            if self.fails:
                raise RuntimeError("the copy failed")
            return super().download(source)

    class Late:
        def get(self) -> Any:
            raise RuntimeError("the copy never came")

    runtime = Unreadable()
    bench = Bench(runtime=runtime)
    # The thread itself, as it is what must survive.
    bench.pipeline.start()
    assert bench.put(SOME[:2], 0).wait(20)
    runtime.fails = False
    bench.pipeline._pending.append(_PendingTokens([], Late()))
    assert bench.put(SOME[2:], 2).wait(20)
    assert bench.put(SOME, 4).wait(20)
    bench.pipeline.close()
    bench.finish()
    assert all(isinstance(bench.told[i], RuntimeError) for i in (0, 1))
    assert [bench.told[i] for i in range(4, 8)] == _each_alone(SOME)
    assert sorted(bench.pipeline._free) == list(range(bench.slots_count))


def test_a_captured_shape_whose_buffers_moved_is_an_error_and_no_wrong_text() -> None:
    runtime, first, second = CpuRuntime(), torch.zeros(3), torch.zeros(3)
    with runtime.lane(DECODE):
        runtime.replay("key", lambda x: x.add_(0), (first,))
    with pytest.raises(RuntimeError, match="moved"), runtime.lane(DECODE):
        runtime.replay("key", lambda x: x.add_(0), (second,))


def test_a_shape_runs_what_was_captured_and_not_what_a_later_call_brings() -> None:
    runtime, buffer, ran = CpuRuntime(), torch.zeros(1), []
    for name in ("first", "second"):
        with runtime.lane(DECODE):
            runtime.replay("key", lambda _, name=name: ran.append(name), (buffer,))
    assert set(ran) == {"first"}


def test_shapes_held_ready_are_bounded_and_the_oldest_goes() -> None:
    runtime, ran = CpuRuntime(most_graphs=2), []
    buffer = torch.zeros(1)
    for key in ("a", "b", "a", "c", "a", "b"):
        with runtime.lane(DECODE):
            runtime.replay(key, lambda _, key=key: ran.append(key), (buffer,))
    assert runtime.graphs == 2
    # A shape that is new is rehearsed: twice. `b` had to go for `c`.
    assert "".join(ran) == "aabbaccabb"


def test_shapes_made_ready_beforehand_leave_nothing_behind_and_are_used() -> None:
    bench = Bench()
    with torch.inference_mode():
        bench.slots.prepare(frames=(400,), prompts=(4,))
    ready = bench.runtime.graphs
    assert ready == 2 * bench.rows + bench.slots_count
    assert bench.said(SOME) == _each_alone(SOME)
    # Only longer texts than were thought of needed a shape of their own.
    assert bench.runtime.graphs <= ready + 1


@pytest.mark.parametrize("period", [1, 2, 5])
def test_a_text_that_repeats_itself_over_and_over_is_a_loop(period: int) -> None:
    begin, again = list(range(100, 110)), list(range(period))
    repeats = max(5, -(-24 // period) + 1)
    assert loops(begin + again * repeats)
    assert not loops(begin + again * 2)
    assert not loops(list(range(60)))
