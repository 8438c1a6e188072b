"""Speech without a pause: windows of bounded length, every word once whatever the place of a seam."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engines.batch_encoding import Encoding
from server.engines.engine import EngineRow, Hypothesis, TimedWord
from server.settings import SimulatedLaw
from server.worker.decode_windows import BOUNDED, WHOLE, rule_for
from server.worker.scheduler import Backlog
from server.worker.utterance import Utterance
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import Client, FlawedEngine, World, run
from whisper_ops.tone_language import TONE_SECONDS, WORD_SECONDS

RATE = 16000
EXAMPLES = int(os.environ.get("WINDOW_EXAMPLES", "6"))
IDLE, BUSY = SimulatedLaw(a_seconds=0.02, b_seconds=0.005), SimulatedLaw(a_seconds=1.4, b_seconds=0.1)


class Noting(FlawedEngine):
    """Keeps every row it gets."""

    rows: list[EngineRow]

    def load(self) -> Any:
        self.rows = []
        return super().load()

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        self.rows += rows
        return super().decode(rows)


class Unsure(FlawedEngine):
    """Is not sure of any word."""

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        return [
            replace(heard, words=heard.words and tuple(replace(word, probability=0.5) for word in heard.words))
            for heard in super().decode(rows)
        ]


WORD = round(WORD_SECONDS * RATE)


async def _said(
    world: World, first: int, seconds: float, chunk: float, kills: Sequence[float] = (), quiet: float = 0.0
) -> Client:
    """Silence, and unbroken speech from a word of the endless one on; the worker dies at these moments of it."""
    client = await world.client(words="true").connected()
    await client.speak(quiet, level=0, chunk=0.02)
    client.sent, at = first * WORD, 0.0
    for kill in [*sorted(kills), seconds]:
        await client.speak(kill - at, chunk=chunk)
        at = kill
        if kill < seconds:
            world.live(0).kill()
    return await client.end()


def _check(client: Client, first: int, seconds: float, quiet: float = 0.0) -> None:
    """Every word once, in order, at its time; and nothing shown twice at a seam."""
    words = [word for final in client.of("final") for word in final["words"]]
    assert [word["word"] for word in words] == spoken(seconds, first * WORD_SECONDS)
    for n, word in enumerate(words):
        assert word["start"] == pytest.approx(quiet + n * WORD_SECONDS, abs=0.05)
        assert word["end"] == pytest.approx(quiet + n * WORD_SECONDS + TONE_SECONDS, abs=0.05)
    for final in client.of("final"):
        assert final["text"].split() == [word["word"] for word in final["words"]]
    _check_partials(client)


def _check_partials(client: Client) -> None:
    """What is stable of a segment stays, and is in its final."""
    stable: dict[int, str] = {}
    for message in client.messages:
        if message["type"] not in ("partial", "final"):
            continue
        before = stable.get(message["segment"], "")
        assert message["text"].startswith(before), message
        if message["type"] == "partial":
            stable[message["segment"]] = message["text"][: message["stable_chars"]]


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    first=st.integers(0, 39),
    words=st.integers(40, 160),
    chunk=st.sampled_from([0.02, 0.1, 0.4]),
    quiet=st.integers(0, 40),
    law=st.sampled_from([IDLE, BUSY]),
)
def test_wherever_a_window_begins_no_word_is_lost_or_said_twice(
    first: int, words: int, chunk: float, quiet: int, law: SimulatedLaw
) -> None:
    async def main() -> None:
        world = await World(law=law).ready()
        seconds = round(words * WORD_SECONDS, 3)
        client = await _said(world, first, seconds, chunk, quiet=quiet / 50)
        _check(client, first, seconds, quiet / 50)
        await world.close()

    run(main)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(first=st.integers(0, 39), begun=st.integers(20, 90), apart=st.integers(60, 140))
def test_replayed_after_a_killed_worker_speech_without_a_pause_is_the_same(first: int, begun: int, apart: int) -> None:
    async def main() -> None:
        world = await World().ready()
        client = await _said(world, first, 40.0, 0.1, [(begun + k * apart) / 10 for k in range(3)])
        words = [word for final in client.of("final") for word in final["words"]]
        assert [word["word"] for word in words] == spoken(40.0, first * WORD_SECONDS)
        await world.close()

    run(main)


@settings(max_examples=max(1, EXAMPLES // 2), deadline=None, derandomize=True)
@given(first=st.integers(0, 39), drop=st.integers(20, 350), away=st.integers(0, 30), words=st.booleans())
def test_resumed_in_the_middle_of_speech_without_a_pause_it_is_the_same(
    first: int, drop: int, away: int, words: bool
) -> None:
    async def main() -> None:
        world = await World().ready()
        client = await world.client(words=str(words).lower()).connected()
        client.sent = first * WORD
        await client.speak(drop / 10)
        client.drop()
        await client.finished()
        await asyncio.sleep(away / 10)
        heard = round(client.of("final")[-1]["end"] * RATE) if client.of("final") else 0
        again = await world.client(resume=client.resume_token, offset=heard, words=str(words).lower()).connected()
        # The server has what it had taken; the client goes on from there.
        again.sent += first * WORD
        await again.speak(40.0 - drop / 10)
        await again.end()
        assert f"{client.text} {again.text}".split() == spoken(40.0, first * WORD_SECONDS)
        _check_partials(again)
        await world.close()

    run(main)


PAUSES = st.sampled_from([0.8, 1.2, 2.4])


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    first=st.integers(0, 39),
    parts=st.lists(st.tuples(st.integers(1, 40), PAUSES), min_size=2, max_size=6),
    law=st.sampled_from([IDLE, BUSY]),
    kill=st.none() | st.integers(1, 5),
)
def test_after_a_pause_of_any_length_every_word_is_told_once(
    first: int, parts: list[tuple[int, float]], law: SimulatedLaw, kill: int | None
) -> None:
    async def main() -> None:
        world = await World(law=law).ready()
        client = await world.client(words="true").connected()
        client.sent, expected, at = first * WORD, [], 0.0
        for number, (words, pause) in enumerate(parts):
            if number == kill:
                world.live(0).kill()
            seconds = words * WORD_SECONDS
            begin = client.sent // WORD * WORD_SECONDS
            expected += [(word, at + n * WORD_SECONDS) for n, word in enumerate(spoken(seconds, begin))]
            await client.speak(seconds)
            await client.speak(pause, level=0)
            at += seconds + pause
        await client.end()
        told = [word for final in client.of("final") for word in final["words"]]
        assert [word["word"] for word in told] == [word for word, _ in expected]
        assert [word["start"] for word in told] == pytest.approx([at for _, at in expected], abs=0.05)
        if kill is None:
            _check_partials(client)
        await world.close()

    run(main)


def _rows(rule: str | None, monkeypatch: pytest.MonkeyPatch, law: SimulatedLaw = IDLE) -> list[EngineRow]:
    if rule:
        monkeypatch.setenv("WHISPER_OPS_WINDOWS", rule)

    async def main() -> list[EngineRow]:
        world = await World(law=law, engine=Noting).ready()
        await _said(world, 0, 40.0, 0.1)
        engine = world.live(0).engine
        assert isinstance(engine, Noting)
        await world.close()
        return engine.rows

    rows: list[EngineRow] = run(main)
    return rows


def test_windows_of_unbroken_speech_stay_short_and_whole_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    bounded = [len(row.audio) / RATE for row in _rows(None, monkeypatch)]
    assert max(bounded) <= 6.0
    whole = _rows("whole", monkeypatch)
    assert max(len(row.audio) / RATE for row in whole) == pytest.approx(15.0)
    assert {row.prefix for row in whole} == {""}


def test_behind_an_engine_that_cannot_keep_up_windows_grow_by_what_is_new_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = _rows(None, monkeypatch, SimulatedLaw(a_seconds=2.0, b_seconds=0.0))
    assert sorted(len(row.audio) / RATE for row in rows)[-3] <= 8.0


def test_a_window_says_what_was_heard_of_it_and_how_much_of_it_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows(None, monkeypatch)
    first, *later = rows
    assert (first.known, first.new_s) == ("", np.inf)
    heard = [row for row in later if row.known]
    assert len(heard) > 0.9 * len(rows)
    for row in heard:
        assert row.known.startswith(row.prefix)
        seconds, known = len(row.audio) / RATE, len(row.known.split()) * WORD_SECONDS
        assert known + row.new_s == pytest.approx(seconds, abs=2 * WORD_SECONDS), "words of what is not new"


@pytest.mark.slow
def test_ten_minutes_without_a_pause() -> None:
    async def main() -> None:
        world = await World().ready()
        client = await _said(world, 0, 600.0, 0.1)
        _check(client, 0, 600.0)
        assert len(client.of("final")) >= 40
        await world.close()

    run(main)


# --- parts ------------------------------------------------------------------------------------------------


def _heard(text: str, first_s: float = 0.0) -> Hypothesis:
    """A word each half second."""
    words = text.split()
    timed = tuple(TimedWord(w, first_s + 0.5 * i, first_s + 0.5 * i + 0.4, 0.9) for i, w in enumerate(words))
    return Hypothesis(text, words=timed)


def _utterance(text: str, hold_s: float) -> Utterance:
    utterance = Utterance(0, 0, 0.0)
    utterance.take(_heard(text), len(text.split()) / 2, comparable=True, hold=False)
    utterance.hold(hold_s)
    return utterance


def test_the_next_window_begins_at_a_settled_word_with_sound_to_its_left() -> None:
    utterance = _utterance("a b c d e f g h i j k l", hold_s=4.0)
    assert utterance.agreement.stable == ["a", "b", "c", "d", "e", "f", "g", "h"]
    assert utterance.advance(1.5) == 2.0 * RATE
    assert (utterance.before, utterance.prefix) == (4, ["e", "f", "g", "h"])
    # Words before the window are not heard again, and those in it are matched.
    utterance.window_start = 2 * RATE
    utterance.take(_heard("x f g h i j k l m"), 6.5, comparable=True, hold=False)
    assert utterance.words == ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"]
    assert [time.start for time in utterance.spoken(13, 7.0)] == pytest.approx([0.5 * i for i in range(13)])


def test_what_is_said_twice_is_not_found_a_sentence_later() -> None:
    utterance = _utterance("press three for sales press four for service press zero", hold_s=2.0)
    before = list(utterance.agreement.stable)
    utterance.take(
        _heard("press three for sales press four for service press zero press three for sales again"),
        7.0,
        comparable=True,
        hold=False,
    )
    assert utterance.words[: len(before)] == before
    assert utterance.words[-3:] == ["for", "sales", "again"]


def test_a_segment_goes_on_with_words_that_are_never_told_again() -> None:
    utterance = _utterance("a b c d e f g h", hold_s=3.0)
    utterance.advance(1.0)
    rest = utterance.after(len(utterance.agreement.stable), 3 * RATE, 1, 9.0)
    assert utterance.words[:6] == ["a", "b", "c", "d", "e", "f"]
    assert rest.words == ["g", "h"]
    assert rest.prefix == utterance.agreement.stable[utterance.before :]
    assert all(time.start >= 3.0 for time in rest.spoken(len(rest.agreement.words), 5.0))


def test_an_unknown_time_lies_between_its_neighbours() -> None:
    utterance = _utterance("a b c d", hold_s=2.0)
    utterance.times[1] = utterance.times[2] = None
    times = utterance.spoken(4, 2.0)
    assert [t.start for t in times] == pytest.approx([0.0, 0.4, 0.95, 1.5])
    assert [t.end for t in times] == pytest.approx([0.4, 0.95, 1.5, 1.9])


@given(
    times=st.lists(st.none() | st.tuples(st.floats(-1, 6), st.floats(0, 2)), min_size=1, max_size=8),
    lead=st.integers(0, 3),
)
def test_words_follow_each_other_whatever_windows_say_of_their_times(
    times: list[tuple[float, float] | None], lead: int
) -> None:
    utterance = _utterance(" ".join("abcdefgh"[: len(times)]), hold_s=0.0)
    utterance.start, utterance.lead = RATE, min(lead, len(times))
    utterance.times = [time and TimedWord("x", time[0], sum(time), 0.9) for time in times]
    found = utterance.spoken(len(times), 5.0)
    assert [word.word for word in found] == utterance.words
    edges = [1.0, *(edge for word in found for edge in (word.start, word.end)), 5.0]
    assert edges == sorted(edges)


def test_a_word_that_the_model_is_not_sure_of_waits_until_it_is_heard_again() -> None:
    utterance = Utterance(0, 0, 0.0)
    heard = _heard("a b c d e f g h")
    assert heard.words is not None
    unsure = (*heard.words[:2], replace(heard.words[2], probability=0.4), *heard.words[3:])
    utterance.take(replace(heard, words=unsure), 4.0, comparable=True, hold=False)
    utterance.hold(3.0, sure=0.8)
    assert utterance.agreement.stable == ["a", "b"]
    utterance.take(_heard("a b x d e f g h i j"), 5.0, comparable=True, hold=False)
    utterance.hold(4.0, sure=0.8)
    assert utterance.agreement.stable == ["a", "b", "x", "d", "e", "f", "g", "h"]


def test_unsure_words_of_other_languages_wait_to_be_heard_again() -> None:
    async def main(language: str) -> list[int]:
        world = await World(law=SimulatedLaw(a_seconds=2.6, b_seconds=0.0), engine=Unsure).ready()
        client = await world.client(language=language).connected()
        await client.speak(12.0)
        await client.end()
        await world.close()
        assert client.text.split() == spoken(12.0)
        return [partial["stable_chars"] for partial in client.of("partial")]

    english, french = run(lambda: main("en")), run(lambda: main("fr"))
    assert len(english) == len(french)
    assert sum(french) < sum(english)
    assert french[-1] > 0, "heard twice they are stable"


def test_no_time_known_is_no_later_window() -> None:
    utterance = Utterance(0, 0, 0.0)
    for at in (3.0, 4.0):
        utterance.take(Hypothesis("a b c d e f g h"), at, comparable=True, hold=False)
    assert utterance.agreement.stable == ["a", "b", "c", "d", "e"]
    assert utterance.advance(1.0) is None
    assert not utterance.timed


def test_rows_are_encoded_in_the_way_that_is_faster_and_the_other_is_tried_again() -> None:
    choice, ways = Encoding(), []
    for _ in range(200):
        apart = choice.apart(8)
        ways.append(apart)
        choice.encoded(8, 10.0, 0.4 if apart else 0.7, apart=apart)
    assert ways[10:60] == [True] * 50
    assert 0 < ways[60:].count(False) <= 3
    assert not choice.apart(1)


def test_an_engine_is_behind_while_jobs_wait_and_no_longer() -> None:
    backlog = Backlog()
    backlog.waited([0.05] * 50)
    found = [backlog.behind]
    for wait, jobs in ((0.8, 10), (0.0, 20)):
        backlog.waited([wait] * jobs)
        found.append(backlog.behind)
    assert found == [False, True, False]


def test_the_rule_of_a_benchmark_is_asked_for_by_name() -> None:
    assert rule_for(None) is rule_for("") is BOUNDED
    assert rule_for("whole") is WHOLE
    assert np.isinf(WHOLE.bound)
