"""Whisper's log-mel features, for the speech alone: the padding's value is known without computing it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from server.encodings import SAMPLE_RATE, Samples

_FFT, HOP = 400, 160
FRAMES_PER_SECOND = SAMPLE_RATE // HOP


@cache
def _filters(mels: int) -> NDArray[np.float32]:
    from faster_whisper.feature_extractor import FeatureExtractor  # noqa: PLC0415  # a worker's import, not the front's

    return np.asarray(FeatureExtractor.get_mel_filters(SAMPLE_RATE, _FFT, n_mels=mels), np.float32)


_WINDOW = np.hanning(_FFT + 1)[:-1].astype(np.float32)


def features(audio: Samples, frames: int, mels: int = 80) -> NDArray[np.float32]:
    """Features of shape [mels, frames] of the audio followed by digital silence.

    Equal to Whisper's own for padded audio. Audio beyond `frames` is cut off.
    """
    line = np.pad(
        audio[: frames * HOP], (_FFT // 2, _FFT // 2), mode="reflect" if len(audio) > _FFT // 2 else "constant"
    )
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(line, (0, HOP)), _FFT)[::HOP][:frames]
    spectrum = np.fft.rfft(windows * _WINDOW, axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = np.log10(np.maximum(_filters(mels) @ power.T.astype(np.float32), 1e-10))
    floor = max(float(mel.max(initial=-10.0)), -10.0) - 8.0
    out = np.full((mels, frames), floor, np.float32)
    # Digital silence is 1e-10, which the floor lifts unless the loudest frame is itself nearly silent.
    out[:] = max(floor, -10.0)
    out[:, : mel.shape[1]] = np.maximum(mel, floor)
    return (out + 4.0) / 4.0
