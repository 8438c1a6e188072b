"""Sentences read by a real voice, one after the other as a person reads, for streams that play them in real time."""

import wave
from pathlib import Path

import numpy as np

from whisper_ops import speech_synthesis

SENTENCES = (
    "The harbor master checked the tide tables twice before the ferry left.",
    "Please remember to water the plants on the balcony while we are away next week.",
    "The committee agreed that the library should stay open later on Thursdays.",
    "Nobody had told the new driver that the bridge was closed for repairs.",
)


def passage(folder: Path, sentences: tuple[str, ...] = SENTENCES, pause_seconds: float = 1.0) -> tuple[bytes, int]:
    """16-bit samples and their rate."""
    parts, rate = [], 0
    for path in speech_synthesis.synthesise(sentences, folder):
        with wave.open(str(path)) as file:
            rate = file.getframerate()
            spoken = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        parts += [spoken, np.zeros(round(pause_seconds * rate), np.int16)]
    return np.concatenate(parts).tobytes(), rate


def words(text: str) -> list[str]:
    return ["".join(c for c in word.casefold() if c.isalnum()) for word in text.split()]
