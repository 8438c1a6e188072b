"""A corpus in the language of tones, for simulated servers: they hear it exactly, and every word's end is known."""

import random
import tempfile
from pathlib import Path

import msgspec

from capacity.corpus.audio_files import write_wav
from capacity.corpus.clips import RATE, ClipWord, WordTimes
from whisper_ops.errors import UserError
from whisper_ops.tone_language import TONE_SECONDS, VOCABULARY, WORD_SECONDS, sound

CLIPS = 40
_FEWEST_WORDS, _MOST_WORDS = 5, 14
_SEED = 1
_SOURCE = "tones: exact by construction"


def make_tones(folder: Path, clips: int = CLIPS) -> Path:
    """Make the corpus in `folder` where it is missing: some 150 s of utterances of 2 to 6 s, always the same ones.

    Raises:
        UserError: the folder cannot be written.
    """
    if len(list(folder.glob("*.words.json"))) == clips:
        return folder
    chance = random.Random(_SEED)  # noqa: S311  # the same speech each time is the point
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Files are put in their places whole: another sweep may make the same ones at the same time.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as scratch:
            for number in range(clips):
                numbers = chance.choices(range(len(VOCABULARY)), k=chance.randint(_FEWEST_WORDS, _MOST_WORDS))
                for made in _utterance(Path(scratch) / f"{number:02}", numbers):
                    made.replace(folder / made.name)
    except OSError as error:
        raise UserError(
            f"cannot write the speech for simulated servers to {folder}: {error.strerror or error}; "
            "name a folder of speech with --corpus"
        ) from error
    return folder


def _utterance(stem: Path, numbers: list[int]) -> tuple[Path, Path, Path]:
    """Its files. The word times are the last, so that an interrupted corpus is made again."""
    audio, text, times = (stem.with_suffix(suffix) for suffix in (".wav", ".txt", ".words.json"))
    write_wav(audio, sound(numbers), RATE)
    text.write_text(" ".join(VOCABULARY[n] for n in numbers) + "\n", encoding="utf-8")
    times.write_bytes(msgspec.json.encode(_times(numbers)))
    return audio, text, times


def _times(numbers: list[int]) -> WordTimes:
    starts = [round(k * WORD_SECONDS, 3) for k in range(len(numbers))]
    words = (ClipWord(VOCABULARY[n], at, round(at + TONE_SECONDS, 3)) for n, at in zip(numbers, starts, strict=True))
    return WordTimes(_SOURCE, tuple(words))
