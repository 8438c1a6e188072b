"""Features on the device equal those of Whisper, and a window that grows needs its new frames only."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from server.audio_formats import Samples  # noqa: E402
from server.engines import mel  # noqa: E402
from server.engines.torch.cpu_runtime import CpuRuntime  # noqa: E402
from server.engines.torch.device_runtime import ENCODE  # noqa: E402
from server.engines.torch.features import Features  # noqa: E402
from tests.server.engines.torch.toy import sound  # noqa: E402

FRAMES = 400


def _made(features: Features, keys: list[object], audios: list[Samples], frames: int = FRAMES) -> np.ndarray:
    with features._runtime.lane(ENCODE):
        return np.asarray(features.batch(keys, audios, frames).numpy())


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [0, 1, 100, 200, 201, 359, 1600, 23456, 64000, 70000])
def test_they_equal_whispers(mels: int, samples: int) -> None:
    audio = sound(samples, 5.0)[:samples]
    (made,) = _made(Features(CpuRuntime(), mels, 4), [None], [audio])
    np.testing.assert_allclose(made, mel.features(audio, FRAMES, mels), atol=2e-4)


def test_a_window_that_grew_gets_its_new_frames_and_no_others_made() -> None:
    audio, features = sound(1, 3.0), Features(CpuRuntime(), 80, 4)
    before = 0
    for end in (9600, 17777, 17777, 25600, 48000):
        (made,) = _made(features, [("stream", 0.0)], [audio[:end]])
        np.testing.assert_allclose(made, mel.features(audio[:end], FRAMES), atol=2e-4)
        made_now, before = features.computed - before, features.computed
        # Those whose sound was not all there are made again.
        assert made_now <= end // 160 + 2 if end == 9600 else made_now < 110 * 1.5
    (short,) = _made(features, [("stream", 0.0)], [audio[:20000]])
    np.testing.assert_allclose(short, mel.features(audio[:20000], FRAMES), atol=2e-4)


def test_rows_of_one_batch_and_streams_that_give_way_to_others_keep_their_own_frames() -> None:
    features, audios = Features(CpuRuntime(), 80, 3), [sound(seed, 2.0 + seed / 10) for seed in range(5)]
    for end in (8000, 16000, 30000):
        for some in ([0, 1, 2], [3, 4], [1, 3], [0]):
            cut = [audios[i][:end] for i in some]
            made = _made(features, [("s", i) for i in some], cut)
            for one, audio in zip(made, cut, strict=True):
                np.testing.assert_allclose(one, mel.features(audio, FRAMES), atol=2e-4)


def test_a_row_that_is_no_number_leaves_the_others_alone() -> None:
    good = sound(3, 1.0)
    bad = np.full(16000, np.nan, np.float32)
    made = _made(Features(CpuRuntime(), 80, 4), [None, None], [bad, good])
    np.testing.assert_allclose(made[1], mel.features(good, FRAMES), atol=2e-4)
    assert np.isnan(made[0]).any()


def test_frames_that_could_not_be_made_are_not_thought_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    features, audio = Features(CpuRuntime(), 80, 4), sound(1, 2.0)
    with monkeypatch.context() as patch:
        patch.setattr(features, "_transform", None)
        with pytest.raises(TypeError):
            _made(features, [("s", 0)], [audio])
    (made,) = _made(features, [("s", 0)], [audio])
    np.testing.assert_allclose(made, mel.features(audio, FRAMES), atol=2e-4)
