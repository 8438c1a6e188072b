"""Audio as clients send it, turned into the one form that everything after it reads: float32, mono, 16 kHz."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
Samples = NDArray[np.float32]

BYTES_PER_SAMPLE = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1}
"""The encodings that are accepted."""

MIN_RATE, MAX_RATE = 8000, 48000


def _from_s16(data: bytes) -> Samples:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


def _from_f32(data: bytes) -> Samples:
    # A client's NaN or infinity would poison every later feature of its stream.
    return np.nan_to_num(np.frombuffer(data, "<f4").astype(np.float32), posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)


@cache
def _mulaw_table() -> Samples:
    """ITU-T G.711 µ-law: 256 codes to linear samples, full scale 1."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = ((((code & 0x0F).astype(np.int32) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768.0).astype(np.float32)


def _from_mulaw(data: bytes) -> Samples:
    return _mulaw_table()[np.frombuffer(data, np.uint8)]


_READERS: dict[str, Callable[[bytes], Samples]] = {
    "pcm_s16le": _from_s16,
    "pcm_f32le": _from_f32,
    "mulaw": _from_mulaw,
}


class AudioDecoder:
    """Turns one stream's bytes into samples; keeps the resampler's state between chunks.

    All samples of a stream are as many as its length holds whole ones of at 16 kHz: not one more, so that no position
    lies after the stream's end.
    """

    __slots__ = ("_rate", "_read", "_received", "_resampler", "_returned")

    def __init__(self, encoding: str, sample_rate: int) -> None:
        self._read = _READERS[encoding]
        self._rate = sample_rate
        self._resampler = _Resampler(sample_rate) if sample_rate != SAMPLE_RATE else None
        self._received = self._returned = 0

    def __call__(self, data: bytes) -> Samples:
        """Samples of a chunk, whose length is a whole number of samples."""
        samples = self._read(data)
        if self._resampler is None:
            return samples
        self._received += len(samples)
        return self._counted(self._resampler(samples))

    def rest(self) -> Samples:
        """What the resampler still held when the stream ended."""
        return self._counted(self._resampler.rest()) if self._resampler else np.zeros(0, np.float32)

    def _counted(self, samples: Samples) -> Samples:
        samples = samples[: self._received * SAMPLE_RATE // self._rate - self._returned]
        self._returned += len(samples)
        return samples


class _Resampler:
    """libswresample through PyAV, which faster-whisper brings along."""

    __slots__ = ("_av", "_rate", "_resampler")

    def __init__(self, sample_rate: int) -> None:
        import av  # noqa: PLC0415  # half a second, for the few streams that are not 16 kHz

        self._av: Any = av
        self._rate = sample_rate
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)

    def __call__(self, samples: Samples) -> Samples:
        if not len(samples):
            return samples
        frame = self._av.AudioFrame.from_ndarray(samples[None, :], format="flt", layout="mono")
        frame.sample_rate = self._rate
        return _joined(self._resampler.resample(frame))

    def rest(self) -> Samples:
        return _joined(self._resampler.resample(None))


def _joined(frames: list[Any]) -> Samples:
    parts = [np.asarray(frame.to_ndarray(), np.float32).reshape(-1) for frame in frames]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
