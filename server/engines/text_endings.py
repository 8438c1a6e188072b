"""The end of a text, for every engine: loops that are too fast for their audio, and audio after the last word."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from server.audio_formats import SAMPLE_RATE
from server.engines.alignment import Text, Times
from server.engines.engine import EngineRow, Hypothesis, TimedWord
from server.engines.repetition import (
    FEW,
    Repeat,
    find_repeat,
    held,
    plain,
    repetition,
    timed,
    token_cap,
    without_rounds,
    without_untimed,
)

if TYPE_CHECKING:
    from server.engines.detokenize import Texts

RESTS = 3
"""The most times that the rest of a window is decoded again; each begins where the one before ended."""
_REST_SECONDS = 0.5
"""A cut-off text's audio after its last word is decoded again if it is at least so long."""
EARLY_SECONDS = 1.5
"""A text that ends so long before its window was ended too early, since windows end where their speech does."""
_WORD_SECONDS, _LETTER_SECONDS = 0.15, 0.07
"""A word takes about the first and the second for each of its letters."""
_PAUSE_SECONDS = 0.6
"""So much longer it takes at most with the pause after it: longer ones end an utterance."""
_SPARSE_SECONDS, _SPARSE_TOKENS = 2.5, 2.0
"""A window of at least so many seconds with fewer tokens a second than slow speech: its end is aligned."""
_SILENT, _POOR = 0.6, -1.0
"""Whisper's own rule for no speech (its probability, mean log probability): such a rest is dropped."""


def row_cap(texts: "Texts", row: EngineRow, language: str | None) -> int:
    """How many tokens a row's text may have. A batch goes on until its longest text ends, so a loop costs all of it."""
    known = len(texts.encode(" " + row.known)) if row.known else 0
    return token_cap(len(row.audio) / SAMPLE_RATE, language, known, row.new_s)


def suspect(texts: "Texts", text: Text) -> Repeat | None:
    """A repeat at a text's end that may be a loop; alignment decides. A cut-off text may be an inexact one."""
    # In a text that ended by itself one or two repeated words are no loop.
    repeat = find_repeat(_worded(texts, text)[1], 1 if text.cut_off else 3)
    return repeat or (Repeat(1, 0) if text.cut_off else None)


def cut_rounds(texts: "Texts", text: Text) -> bool:
    """Cut off the loop of a text that the token limit ended, where its rounds tell; whether there is one.

    An alignment of such a text is worth little: it gives the sound to any of the rounds, or to parts of several.
    """
    if not text.cut_off:
        return False
    places, parts = _worded(texts, text)
    if (length := without_rounds(parts)) is None:
        return False
    length = max(length, sum(place < text.forced for place in places))
    text.ids = text.ids[: places[length]] if length < len(places) else text.ids
    return True


def _worded(texts: "Texts", text: Text) -> tuple[list[int], list[str]]:
    """The places of the tokens that are more than punctuation, and what they say in plain form."""
    found = [(i, part) for i, part in enumerate(texts.parts(text.ids)) if part]
    return [i for i, _ in found], [part for _, part in found]


def in_question(row: EngineRow, text: Text) -> bool:
    """Whether a text's end should be aligned."""
    seconds = len(row.audio) / SAMPLE_RATE
    sparse = seconds >= _SPARSE_SECONDS and len(text.ids) < _SPARSE_TOKENS * seconds
    return bool(text.ids) and (text.cut_off or sparse)


def cut_loop(texts: "Texts", text: Text, repeat: Repeat, times: Times) -> None:
    """Cut off a repeat that is too fast for its audio."""
    places, _ = _worded(texts, text)
    starts = [times.starts[i] for i in places] + [times.end_s]
    seconds = np.diff(starts).tolist()
    length = held(repeat, seconds) if repeat.length else len(places)
    single = repeat.period <= FEW and repeat.length > 0
    if text.cut_off and (timed_length := timed(seconds)) < length:
        length, single = timed_length, False
    # What was forced is no part of a loop.
    length = max(length, sum(place < text.forced for place in places))
    if length < len(places):
        text.ids, text.cut_off = text.ids[: places[length]], True
        text.end_s = starts[length] if single else None


def hypothesis(
    texts: "Texts",
    row: EngineRow,
    text: Text,
    times: Times | None,
    language: tuple[str, Mapping[str, float] | None],
    no_speech: float,
) -> Hypothesis:
    """The hypothesis of a text; with `times`, with its words' times."""
    words = None
    if times is not None:
        if text.ids and len(row.audio) / SAMPLE_RATE - times.end_s >= EARLY_SECONDS:
            text.cut_off = True
        if text.cut_off:
            _cut_unspoken(texts, text, times)
        _cut_stretched(texts, text, times)
        # A cut-off text ends with its last word; otherwise the last word reaches to the end of the window.
        text.end_s = (text.end_s or times.end_s) if text.cut_off else len(row.audio) / SAMPLE_RATE
        text.score = times.score if text.cut_off else text.score
        words = texts.timed(text.ids, times.first, times.chances, text.end_s)
    again = repetition(_worded(texts, text)[1])
    return Hypothesis(texts.decode(text.ids).strip(), no_speech, text.score, words, *language, again)


def _cut_unspoken(texts: "Texts", text: Text, times: Times) -> None:
    """Cut off what begins another round of a loop at a text's end: an alignment leaves it no time."""
    places, _ = _worded(texts, text)
    starts = [times.starts[i] for i in places] + [times.end_s]
    length = without_untimed(np.diff(starts).tolist())
    if length < len(places):
        text.ids = text.ids[: places[length]]


def _cut_stretched(texts: "Texts", text: Text, times: Times) -> None:
    """End a text within its first word that takes longer than anybody says it.

    An alignment spreads the words of a text that ended too early, or was cut off there, over all of the sound: one of
    them, most often the last, takes what was said after it.
    """
    heads = texts.heads(text.ids)
    for head, after in pairwise([*heads, len(text.ids)]):
        begin_s, end_s = times.starts[head], times.starts[after] if after < len(text.ids) else times.end_s
        word_s = _WORD_SECONDS + _LETTER_SECONDS * len(plain(texts.decode(text.ids[head:after])))
        if end_s - begin_s > word_s + (_PAUSE_SECONDS if text.cut_off else EARLY_SECONDS):
            text.ids, text.cut_off, text.end_s = text.ids[:after], True, begin_s + word_s
            return


def rest_of(row: EngineRow, text: Text, language: str | None) -> tuple[EngineRow, float] | None:
    """The row of the audio after a cut-off text, and its begin in seconds; None where that is under half a second."""
    if not (text.cut_off and text.ids and text.end_s) or len(row.audio) / SAMPLE_RATE - text.end_s < _REST_SECONDS:
        return None
    audio = row.audio[round(text.end_s * SAMPLE_RATE) :]
    # No prefix, and not the key of the stream's own window with this begin.
    rest = replace(
        row, audio=audio, language=language, choose=None, words=True, prefix="", stream=None, known="", new_s=inf
    )
    return rest, text.end_s


def joined(first: Hypothesis, rest: Hypothesis, begin_s: float) -> Hypothesis:
    """A window's hypothesis with its rest, which begins at `begin_s`; without it if it has no speech."""
    if not rest.text or (rest.no_speech > _SILENT and rest.log_probability < _POOR):
        return first
    later = tuple(TimedWord(w.word, w.start + begin_s, w.end + begin_s, w.probability) for w in rest.words or ())
    ours, theirs = len(first.text), len(rest.text)

    def mean(own: float, other: float) -> float:
        return (own * ours + other * theirs) / (ours + theirs)

    return replace(
        first,
        text=f"{first.text} {rest.text}",
        log_probability=mean(first.log_probability, rest.log_probability),
        words=(*(first.words or ()), *later),
        repetition=mean(first.repetition, rest.repetition),
    )


def as_requested(row: EngineRow, hypothesis: Hypothesis) -> Hypothesis:
    """The hypothesis, without words' times where the row did not ask for them."""
    return replace(hypothesis, words=hypothesis.words if row.words else None)


def chosen(row: EngineRow, probabilities: Mapping[str, float] | None) -> tuple[str, Mapping[str, float] | None]:
    """The language to decode a row in, and each language's probability where it was detected."""
    if probabilities is None:
        return row.language or "en", None
    return (
        row.choose(probabilities) if row.choose is not None else max(probabilities, key=probabilities.__getitem__)
    ), probabilities


def likely(codes: Sequence[str], chances: Sequence[float]) -> dict[str, float]:
    """Languages and their probabilities, the small ones left out."""
    return {code: float(p) for code, p in zip(codes, chances, strict=True) if p >= _LEAST_PROBABILITY}


_LEAST_PROBABILITY = 1e-3
"""Less probable languages are left out."""
