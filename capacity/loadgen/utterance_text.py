"""Which of a stream's text belongs to which utterance: the words as they were shown, cut where the utterances meet."""

from collections.abc import Sequence
from itertools import groupby

import msgspec
from rapidfuzz.distance import Levenshtein

from capacity.corpus.normalization import normalise
from capacity.corpus.playlist import SpokenWord


class UtteranceText(msgspec.Struct, frozen=True):
    """One utterance of a stream."""

    clip: str
    """Its name in the corpus."""
    words: int
    """How many of its normalised words were said; fewer than it has where the stream ended in it."""
    said: str
    """Those words."""
    shown: str
    """What came back for it, as it was written."""


def utterance_texts(spoken: Sequence[SpokenWord], text: str) -> tuple[UtteranceText, ...]:
    """Every utterance in the order it was said. Words too many belong to the utterance of the word before them."""
    written = text.split()
    places = _places(spoken, written)
    found: list[UtteranceText] = []
    at = 0
    for (_, clip), group in groupby(spoken, key=lambda word: (word.turn, word.clip)):
        words = [word.word for word in group]
        shown = [word for word, place in zip(written, places, strict=True) if at <= place < at + len(words)]
        found.append(UtteranceText(clip, len(words), " ".join(words), " ".join(shown)))
        at += len(words)
    return tuple(found)


def _places(spoken: Sequence[SpokenWord], written: Sequence[str]) -> list[int]:
    """For each written word, which said word it stands for, by edit-distance alignment of the normalised words."""
    # Normalising word by word keeps what belongs together; of some words, such as "um", nothing is left.
    tokens = [(token, k) for k, word in enumerate(written) for token in normalise(word)]
    places: list[int | None] = [None] * len(written)
    ops = Levenshtein.opcodes([word.word for word in spoken], [token for token, _ in tokens])
    for op in ops:
        for j in range(op.dest_start, op.dest_end):
            place = min(op.src_start + j - op.dest_start, op.src_end - 1)
            k = tokens[j][1]
            if places[k] is None:
                places[k] = max(0, place)
    last = 0
    for k, found in enumerate(places):
        last = places[k] = last if found is None else found
    return [place or 0 for place in places]
