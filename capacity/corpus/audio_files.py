"""Reading audio of any rate and container as mono 16-bit samples, and writing wav."""

import math
import wave
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from whisper_ops.errors import UserError

Samples: TypeAlias = npt.NDArray[np.int16]

MAX_SECONDS = 4 * 3600.0
"""Of one file: what a header promises, or a small file decodes to, ends here."""
_RATES = (1_000, 768_000)
_DEMUXERS = {".wav": "wav", ".flac": "flac", ".mp3": "mp3", ".ogg": "ogg", ".opus": "ogg", ".m4a": "mov"}


def read_audio(path: Path, rate: int) -> Samples:
    """Mono samples at `rate` hertz of a wav file or, with PyAV installed, of any container it reads.

    Raises:
        UserError: the file cannot be read; the sentence names it.
    """
    try:
        if path.suffix.lower() == ".wav":
            try:
                return _read_wav(path, rate)
            except wave.Error:  # a wav of another kind: floats, A-law
                return _read_with_av(path, rate)
        return _read_with_av(path, rate)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"cannot read the audio of {path}: {error}") from error


def write_wav(path: Path, samples: Samples, rate: int) -> None:
    """Write mono 16-bit samples."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def resample(samples: Samples, from_rate: int, to_rate: int) -> Samples:
    """The same sound at another rate."""
    if from_rate == to_rate:
        return samples
    from scipy.signal import resample_poly  # noqa: PLC0415  # takes 2 s to import, and speech is mostly at its rate

    common = math.gcd(from_rate, to_rate)
    floats = resample_poly(samples.astype(np.float32), to_rate // common, from_rate // common)
    return np.clip(np.rint(floats), -32768, 32767).astype(np.int16)


def _read_wav(path: Path, rate: int) -> Samples:
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2:
            raise wave.Error(f"{8 * file.getsampwidth()} bits a sample")
        channels, from_rate = file.getnchannels(), file.getframerate()
        if not _RATES[0] <= from_rate <= _RATES[1]:
            raise ValueError(f"it has {from_rate:,} samples a second")
        if file.getnframes() > MAX_SECONDS * from_rate:
            raise _too_long()
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    if not samples.size:
        raise ValueError("there are no samples in it")
    mono = samples.reshape(-1, channels).mean(axis=1).astype(np.int16) if channels > 1 else samples
    return resample(mono, from_rate, rate)


def _too_long() -> ValueError:
    return ValueError(f"it lasts more than {MAX_SECONDS / 3600:g} hours")


def _read_with_av(path: Path, rate: int) -> Samples:
    try:
        import av  # noqa: PLC0415  # only with the [server] or [speech] extra, and only for other containers
    except ImportError:
        raise UserError(
            f"reading {path} needs PyAV; install whisper-ops[speech], or convert it to 16-bit wav"
        ) from None
    parts: list[npt.NDArray[Any]] = []
    left = int(MAX_SECONDS * rate)
    try:
        # Read by the demuxer of its name and no other: a playlist is one too, and opens whatever it names.
        with path.open("rb") as file, av.open(file, mode="r", format=_DEMUXERS.get(path.suffix.lower())) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            for frame in chain(container.decode(audio=0), (None,)):
                for part in resampler.resample(frame):
                    parts.append(part.to_ndarray().reshape(-1))
                    left -= len(parts[-1])
                if left < 0:
                    raise _too_long()
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(str(error) or "no audio in it") from error
    if not parts:
        raise ValueError("there are no samples in it")
    return np.concatenate(parts).astype(np.int16)
