"""`make bench-languages`: what a short audio context costs a multilingual model, language by language.

MODEL names the folder of a multilingual CTranslate2 model. The speech are Debian's recorded prompts of Asterisk with
their texts: English, Spanish, French, Italian and Russian (asterisk-core-sounds-LANGUAGE and -LANGUAGE-wav), 8 kHz as
on the telephone. The texts are not always what was recorded, so a context is held against 30 s of padding on the same
clips.
"""

import gzip
import os
import re
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import jiwer
import numpy as np
from scipy.signal import resample_poly
from whisper_normalizer.basic import BasicTextNormalizer

from server.audio_formats import SAMPLE_RATE, Samples
from server.engines.ctranslate2 import CTranslate2Engine
from server.engines.engine import EngineRow
from server.worker.scheduler import context_seconds, contexts_from

LANGUAGES = ("en", "es", "fr", "it", "ru")
LEAST = (4.0, 6.0, 8.0, 30.0)
_SOUNDS, _TEXTS = Path("/usr/share/asterisk/sounds"), Path("/usr/share/doc")
_SHORTEST, _LONGEST = 1.5, 9.0
_WORDS = 4


class Clip(NamedTuple):
    """A recorded prompt and its text, normalised."""

    text: str
    sound: Samples


def clips(language: str, most: int) -> list[Clip]:
    """Prompts of a few words and seconds, spread over all there are."""
    texts = gzip.decompress((_TEXTS / f"asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz").read_bytes())
    found = []
    for line in texts.decode("utf-8", "replace").splitlines():
        name, _, text = line.partition(":")
        path = _SOUNDS / language / f"{name.strip()}.wav"
        if re.search(r"[\[\]<>0-9(]", text) or line.startswith(";") or len(text.split()) < _WORDS or not path.is_file():
            continue
        sound = _read(path)
        if _SHORTEST <= len(sound) / SAMPLE_RATE <= _LONGEST:
            found.append(Clip(_plain(text), sound))
    step = max(1, len(found) // most)
    return found[::step][:most]


def _read(path: Path) -> Samples:
    with wave.open(str(path), "rb") as file:
        rate, data = file.getframerate(), file.readframes(file.getnframes())
    sound = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    return np.asarray(resample_poly(sound, SAMPLE_RATE // rate, 1), np.float32)


def _plain(text: str) -> str:
    return str(BasicTextNormalizer()(text)).strip()


def lines(folder: Path, most: int) -> Iterator[str]:
    """A row of the table for each language and context."""
    engine = CTranslate2Engine(folder, "cpu", "default", 1, int(os.environ.get("THREADS", "2")))
    engine.load()
    yield "| language | clips, words | at least | WER | beyond 30 s, points ± | seconds |"
    yield "|---|---|---|---|---|---|"
    for language in os.environ.get("LANGUAGES", ",".join(LANGUAGES)).split(","):
        some = clips(language, most)
        if not some:
            yield f"| {language} | no prompts here: apt-get install asterisk-core-sounds-{language}-wav | | | | |"
            continue
        words = sum(len(clip.text.split()) for clip in some)
        errors = {}
        for least in reversed(LEAST):
            began = time.monotonic()
            errors[least] = np.array([_errors(engine, clip, language, least) for clip in some])
            took = time.monotonic() - began
            more = errors[least] - errors[30.0]
            # Clip by clip, as one clip's errors come together.
            margin = 1.96 * float(more.std()) * len(some) ** 0.5 / words
            rate, beyond = errors[least].sum() / words, more.sum() / words
            told = f"{100 * beyond:+.1f} ± {100 * margin:.1f}" if least < 30 else "—"
            yield f"| {language} | {len(some)}, {words} | {least:g} s | {100 * rate:.1f} % | {told} | {took:.0f} |"


def _errors(engine: CTranslate2Engine, clip: Clip, language: str, least: float) -> int:
    context = context_seconds(len(clip.sound) / SAMPLE_RATE, contexts_from(least))
    heard = _plain(engine.decode([EngineRow(clip.sound, context, language=language)])[0].text)
    out = jiwer.process_words(clip.text, heard or "—")
    return int(out.substitutions + out.insertions + out.deletions)


def main() -> int:
    """The table on stdout."""
    folder = os.environ.get("MODEL")
    if not folder or not (Path(folder) / "model.bin").is_file():
        click.echo("bench-languages: MODEL names no folder of a multilingual CTranslate2 model", err=True)
        return 2
    for line in lines(Path(folder), int(os.environ.get("CLIPS", "60"))):
        click.echo(line)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
