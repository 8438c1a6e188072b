"""A language of tones: the speech that simulated servers hear.

A word is a tone of its own pitch, 0.3 s long, and a gap of 0.1 s. A simulated engine finds the words in the sound
itself, so audio that was lost, repeated or cut shows in its text, as it would in a real transcript. A load test of a
simulated server plays this language, and knows the end of every word exactly.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

RATE = 16000
WORD_SECONDS = 0.4
TONE_SECONDS = 0.3
SHORTEST_SECONDS = 0.16
"""A tone cut shorter than this is not a word: of one that a cut divides, one part at most is heard."""

VOCABULARY = (
    *("river", "stone", "garden", "window", "paper", "silver", "market", "doctor", "winter", "summer"),
    *("yellow", "bridge", "castle", "forest", "kitchen", "letter", "mountain", "number", "orange", "pencil"),
    *("rabbit", "school", "table", "uncle", "village", "water", "island", "hammer", "engine", "dinner"),
    *("apple", "basket", "candle", "desert", "evening", "flower", "ground", "harbour", "iron", "jacket"),
)
"""Plain words that every text normalisation leaves alone."""

UNKNOWN = "sound"
"""What is heard, once a word's time, where there is sound that is no tone of ours."""

_LOWEST_HERTZ = 400.0
_STEP_HERTZ = 60.0
_LEVEL = 0.3
_SILENT = 0.02
_ANALYSIS_RATE = 8000
"""Hertz at which the sound is listened to: every pitch is below half of it, and it costs half of 16 kHz."""
_FRAME = _ANALYSIS_RATE // 100

Samples: TypeAlias = npt.NDArray[np.int16]
Floats: TypeAlias = npt.NDArray[np.float32]


class TimedTone(NamedTuple):
    """A word and its times, in seconds from the start of the sound."""

    word: str
    start: float
    end: float


def track(begin: int, count: int) -> Samples:
    """Samples `begin` to `begin + count` of an endless speech: word n of it is `VOCABULARY[n % 40]`.

    Returns:
        16-bit samples at 16 kHz.
    """
    at = np.arange(begin, begin + count)
    number, within = np.divmod(at, round(WORD_SECONDS * RATE))
    pitch = _LOWEST_HERTZ + _STEP_HERTZ * (number % len(VOCABULARY))
    wave = np.sin(2 * np.pi * pitch * within / RATE) * (within < TONE_SECONDS * RATE)
    return (wave * _LEVEL * 32767).astype(np.int16)


def sound(words: Sequence[int]) -> Samples:
    """An utterance: the words of these numbers in `VOCABULARY`, one after the other, 0.4 s each."""
    length = round(WORD_SECONDS * RATE)
    return np.concatenate([track(number * length, length) for number in words])


def heard(audio: Floats) -> list[TimedTone]:
    """The words in a sound, by pitch, from the crossings of zero.

    Args:
        audio: samples from -1 to 1 at 16 kHz.
    """
    thin = audio[:: RATE // _ANALYSIS_RATE]
    frames = len(thin) // _FRAME
    if not frames:
        return []
    loud = np.abs(thin[: frames * _FRAME]).reshape(frames, _FRAME).mean(axis=1) > _SILENT
    edges = np.flatnonzero(np.diff(np.concatenate(([False], loud, [False]))))
    crossings = np.concatenate(([0], np.cumsum(np.diff(np.signbit(thin)))))
    words: list[TimedTone] = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        words += _segment(begin * _FRAME / _ANALYSIS_RATE, end * _FRAME / _ANALYSIS_RATE, crossings)
    return words


def _segment(start: float, end: float, crossings: npt.NDArray[np.int64]) -> list[TimedTone]:
    seconds = end - start
    if seconds < SHORTEST_SECONDS:
        return []
    # The outermost frames may be silent in part.
    first, last = round(start * _ANALYSIS_RATE) + _FRAME, round(end * _ANALYSIS_RATE) - _FRAME
    pitch = float(crossings[last - 1] - crossings[first]) / 2 * _ANALYSIS_RATE / (last - first)
    number = round((pitch - _LOWEST_HERTZ) / _STEP_HERTZ)
    if seconds > WORD_SECONDS or not 0 <= number < len(VOCABULARY):
        count = max(1, int(seconds / WORD_SECONDS))
        return [
            TimedTone(UNKNOWN, start + k * seconds / count, start + (k + 1) * seconds / count) for k in range(count)
        ]
    return [TimedTone(VOCABULARY[number], start, end)]
