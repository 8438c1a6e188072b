"""Recorded prompts of people in five languages with their texts: Debian's asterisk-core-sounds-*, 8 kHz."""

import gzip
import re
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RATE = 8000
VOICES = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
MISSING = "needs Debian's recorded prompts: make system-packages installs them"
_SOUNDS = Path("/usr/share/asterisk/sounds")


class Prompt(NamedTuple):
    """A recording and what is said in it."""

    name: str
    text: str
    samples: NDArray[np.int16]

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


def installed() -> bool:
    """Whether all five languages are there, sounds and texts."""
    return all(_texts(code).is_file() and (_SOUNDS / voice).is_dir() for code, voice in VOICES.items())


def load(code: str) -> list[Prompt]:
    """The prompts of a language that are words, in the order of their list."""
    prompts = []
    for line in gzip.decompress(_texts(code).read_bytes()).decode("utf-8-sig").splitlines():
        name, colon, text = line.partition(":")
        path = _SOUNDS / VOICES[code] / f"{name.strip()}.wav"
        # In brackets stands what is no speech: tones, silence.
        if line.startswith(";") or not colon or re.search(r"[\[\]()<>]", text) or not path.is_file():
            continue
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        if text.strip() and len(samples):
            prompts.append(Prompt(name.strip(), text.strip(), samples))
    return prompts


def _texts(code: str) -> Path:
    return Path(f"/usr/share/doc/asterisk-core-sounds-{code}/core-sounds-{code}.txt.gz")


def joined(prompts: list[Prompt], gap_seconds: float) -> NDArray[np.int16]:
    """The prompts one after the other, with silence around each."""
    gap = np.zeros(round(gap_seconds * RATE), np.int16)
    return np.concatenate([gap, *(part for prompt in prompts for part in (prompt.samples, gap))])
