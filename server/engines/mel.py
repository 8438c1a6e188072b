"""Whisper's log-mel features; the padding's value is known without computing it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from server.audio_formats import SAMPLE_RATE, Samples

FFT, HOP = 400, 160
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
    bins = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * area[:, None], np.float32)


_WINDOW = np.hanning(FFT + 1)[:-1].astype(np.float32)


def whole_frames(samples: int) -> int:
    """Frames that further samples do not change."""
    return max(0, (samples - FFT // 2) // HOP + 1)


def sounding_frames(samples: int, frames: int) -> int:
    """Frames that contain samples; later ones are silence, whose value needs no transform."""
    return min(frames, (samples + FFT // 2) // HOP + 1)


def fill(line: Samples, audio: Samples, begin: int, count: int) -> None:
    """Fill `line` with the samples of `count` frames from sample `begin` on; before 0 the audio is mirrored."""
    end = begin + (count - 1) * HOP + FFT
    if begin < 0 < count:
        mirrored = np.pad(audio[: 1 - begin], (0, max(0, 1 - begin - len(audio))))[-begin:0:-1]
        line[:-begin] = mirrored
    samples = audio[max(0, begin) : max(0, end)]
    line[max(0, -begin) : max(0, -begin) + len(samples)] = samples


def raw_frames(audio: Samples, begin: int, end: int, mels: int) -> NDArray[np.float32]:
    """Log powers [mels, end - begin] of some frames, before Whisper's scaling by the loudest one."""
    count = max(0, end - begin)
    if not count:
        return np.zeros((mels, 0), np.float32)
    line = np.zeros((count - 1) * HOP + FFT, np.float32)
    fill(line, audio, begin * HOP - FFT // 2, count)
    windows = np.lib.stride_tricks.sliding_window_view(line, FFT)[::HOP]
    spectrum = np.fft.rfft(windows * _WINDOW, axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.log10(np.maximum(filters(mels) @ power.T.astype(np.float32), _SILENCE)), np.float32)


def normalised(raw: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Whisper's features [mels, frames] of the first frames' logarithms; the others are silence."""
    floor = max(float(raw.max(initial=-10.0)) - 8.0, -10.0)
    out = np.full((len(raw), frames), floor, np.float32)
    np.maximum(raw, floor, out=out[:, : raw.shape[1]])
    out += 4.0
    out /= 4.0
    return out


def features(audio: Samples, frames: int, mels: int = 80) -> NDArray[np.float32]:
    """Features of shape [mels, frames] of the audio followed by digital silence.

    Equal to Whisper's own for audio padded with zeros. Audio beyond `frames` is cut off.
    """
    audio = audio[: frames * HOP]
    return normalised(raw_frames(audio, 0, sounding_frames(len(audio), frames), mels), frames)
