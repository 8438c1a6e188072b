"""Whisper's log-mel features, for the speech alone: the padding's value is known without computing it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from server.encodings import SAMPLE_RATE, Samples

_FFT, HOP = 400, 160
_SILENCE = 1e-10
"""Whisper's smallest power; its logarithm is what digital silence becomes, unless the floor is higher."""
FRAMES_PER_SECOND = SAMPLE_RATE // HOP


@cache
def filters(mels: int) -> NDArray[np.float32]:
    """Slaney's mel filter bank of shape [mels, bins]: linear below 1 kHz, logarithmic above, each of area 1."""
    step, knee, growth = 200 / 3, 15.0, np.log(6.4) / 27

    def hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(mel < knee, mel * step, 1000 * np.exp(growth * (np.maximum(mel, knee) - knee)))

    top = knee + np.log(SAMPLE_RATE / 2 / 1000) / growth
    edges = hertz(np.linspace(0, top, mels + 2))
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * area[:, None], np.float32)


_WINDOW = np.hanning(_FFT + 1)[:-1].astype(np.float32)


def features(audio: Samples, frames: int, mels: int = 80) -> NDArray[np.float32]:
    """Features of shape [mels, frames] of the audio followed by digital silence.

    Equal to Whisper's own for audio padded with zeros. Audio beyond `frames` is cut off.
    """
    audio = audio[: frames * HOP]
    # The last frames that still touch the audio; all later ones are silence, whose value needs no transform.
    sounding = min(frames, (len(audio) + _FFT // 2) // HOP + 1)
    begin = np.pad(audio[: _FFT // 2 + 1], (0, max(0, _FFT // 2 + 1 - len(audio))))[:0:-1]
    line = np.concatenate((begin, audio, np.zeros(_FFT + HOP, np.float32)))
    windows = np.lib.stride_tricks.sliding_window_view(line, _FFT)[: sounding * HOP : HOP]
    spectrum = np.fft.rfft(windows * _WINDOW, axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = np.log10(np.maximum(filters(mels) @ power.T.astype(np.float32), _SILENCE))
    floor = max(float(mel.max(initial=-10.0)) - 8.0, -10.0)
    out = np.full((mels, frames), floor, np.float32)
    np.maximum(mel, floor, out=out[:, : mel.shape[1]])
    return (out + 4.0) / 4.0
