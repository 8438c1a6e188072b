"""Recordings of one speaker joined into stretches that hardly pause, as people read, explain or argue."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np

from capacity.corpus.audio_files import Samples
from capacity.corpus.clips import RATE
from capacity.corpus.pauses import trimmed
from capacity.corpus.recordings import Recording
from whisper_ops.errors import UserError

PAUSES_SECONDS = (0.1, 0.3)
"""Between two recordings."""
SHORTEST_SECONDS, LONGEST_SECONDS = 30.0, 120.0
_SEED = 1


class Stretch(NamedTuple):
    """What one person says."""

    name: str
    text: str
    samples: Samples


class _Part(NamedTuple):
    text: str
    samples: Samples


def stretches(recordings: Iterable[Recording], seconds: float, complain: Callable[[str], None]) -> Iterator[Stretch]:
    """Stretches of 30 to 120 s, until they last so long together or the recordings end; always the same ones.

    What is left of a speaker, less than 30 s, is left out.

    Args:
        recordings: those of a speaker one after the other.
        seconds: of all stretches.
        complain: told of each recording that cannot be used.
    """
    chance = random.Random(_SEED)  # noqa: S311  # the same speech each time is the point
    number, total = 0, 0.0
    for speaker, theirs in groupby(recordings, key=lambda one: one.speaker):
        for parts in _grouped(_parts(theirs, complain), chance):
            if total >= seconds:
                return
            number += 1
            name = "-".join(filter(None, (f"{number:03}", speaker)))
            made = Stretch(name, " ".join(part.text for part in parts), _joined(parts, chance))
            total += len(made.samples) / RATE
            yield made


def _parts(recordings: Iterable[Recording], complain: Callable[[str], None]) -> Iterator[_Part]:
    for recording in recordings:
        try:
            samples = trimmed(recording.samples(), RATE)
        except UserError as error:
            complain(str(error))
            continue
        if len(samples) > LONGEST_SECONDS * RATE:
            complain(f"{recording.path} lasts longer than {LONGEST_SECONDS:g} s; cut it into utterances")
        else:
            yield _Part(recording.text, samples)


def _grouped(parts: Iterable[_Part], chance: random.Random) -> Iterator[list[_Part]]:
    """Parts that make stretches of lengths drawn by chance; a part that would be too much begins the next."""
    group: list[_Part] = []
    length, wanted = 0.0, chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
    for part in parts:
        seconds = len(part.samples) / RATE + PAUSES_SECONDS[1]
        if group and length + seconds > LONGEST_SECONDS:
            if length >= SHORTEST_SECONDS:
                yield group
            group, length = [], 0.0
        group.append(part)
        length += seconds
        if length >= wanted:
            yield group
            group, length, wanted = [], 0.0, chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
    if length >= SHORTEST_SECONDS + len(group) * PAUSES_SECONDS[1]:
        yield group


def _joined(parts: list[_Part], chance: random.Random) -> Samples:
    sounds = [parts[0].samples]
    for part in parts[1:]:
        sounds += [np.zeros(round(chance.uniform(*PAUSES_SECONDS) * RATE), np.int16), part.samples]
    return np.concatenate(sounds)
