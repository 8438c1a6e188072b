"""The language of tones is heard as it was said, through whatever a client does to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_ops import tone_language

numbers = st.lists(st.integers(0, len(tone_language.VOCABULARY) - 1), min_size=1, max_size=20)


def floats(samples: tone_language.Samples) -> tone_language.Floats:
    return (samples / np.float32(32768)).astype(np.float32)


def words(samples: tone_language.Samples) -> list[str]:
    return [word.word for word in tone_language.heard(floats(samples))]


@given(numbers, st.integers(0, 16000))
def test_what_was_said_is_heard_wherever_it_stands(said: list[int], silence: int) -> None:
    samples = np.concatenate((np.zeros(silence, np.int16), tone_language.sound(said)))
    found = tone_language.heard(floats(samples))
    assert [word.word for word in found] == [tone_language.VOCABULARY[n] for n in said]
    for number, word in enumerate(found):
        assert word.end == pytest.approx(silence / 16000 + number * 0.4 + 0.3, abs=0.011)


@given(numbers, st.floats(0.05, 0.95))
def test_a_cut_anywhere_neither_repeats_nor_invents_a_word(said: list[int], share: float) -> None:
    samples = tone_language.sound(said)
    cut = int(len(samples) * share)
    whole = [tone_language.VOCABULARY[n] for n in said]
    both = words(samples[:cut]) + words(samples[cut:])
    divided = cut // 6400
    assert both in (whole, [*whole[:divided], *whole[divided + 1 :]])


def test_lost_sound_is_lost_text() -> None:
    samples = tone_language.track(0, 160000)
    assert words(np.concatenate((samples[:64000], samples[96000:]))) == [
        tone_language.VOCABULARY[n] for n in (*range(10), *range(15, 25))
    ]


def test_telephone_quality_is_enough() -> None:
    from capacity.corpus.audio_files import resample

    said = list(range(len(tone_language.VOCABULARY)))
    assert words(resample(resample(tone_language.sound(said), 16000, 8000), 8000, 16000)) == [*tone_language.VOCABULARY]


def test_any_other_sound_is_heard_as_sound() -> None:
    noise = np.random.default_rng(1).normal(0, 8000, 32000).astype(np.int16)
    assert words(noise) == [tone_language.UNKNOWN] * 5
    assert words(np.zeros(32000, np.int16)) == []
    assert words(np.zeros(10, np.int16)) == []
