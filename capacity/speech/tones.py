"""A corpus in the language of tones, for simulated servers: they hear it exactly, and every word's end is known."""

import random
from pathlib import Path

import msgspec

from capacity.speech.audio import write_wav
from capacity.speech.corpus import RATE, TimedWord, WordTimes
from whisper_ops.tones import TONE_SECONDS, VOCABULARY, WORD_SECONDS, sound

CLIPS = 40
_FEWEST_WORDS, _MOST_WORDS = 5, 14
_SEED = 1
_SOURCE = "tones: exact by construction"


def make_tones(folder: Path, clips: int = CLIPS) -> Path:
    """Make the corpus in `folder` where it is missing: some 150 s of utterances of 2 to 6 s, always the same ones."""
    if len(list(folder.glob("*.words.json"))) == clips:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(_SEED)  # noqa: S311  # the same speech each time is the point
    for number in range(clips):
        numbers = chance.choices(range(len(VOCABULARY)), k=chance.randint(_FEWEST_WORDS, _MOST_WORDS))
        stem = folder / f"{number:02}"
        write_wav(stem.with_suffix(".wav"), sound(numbers), RATE)
        stem.with_suffix(".txt").write_text(" ".join(VOCABULARY[n] for n in numbers) + "\n", encoding="utf-8")
        # Last, so that an interrupted corpus is made again.
        stem.with_suffix(".words.json").write_bytes(msgspec.json.encode(_times(numbers)))
    return folder


def _times(numbers: list[int]) -> WordTimes:
    starts = [round(k * WORD_SECONDS, 3) for k in range(len(numbers))]
    words = (TimedWord(VOCABULARY[n], at, round(at + TONE_SECONDS, 3)) for n, at in zip(numbers, starts, strict=True))
    return WordTimes(_SOURCE, tuple(words))
