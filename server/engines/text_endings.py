"""How a text ends, whatever engine made it: loops that its sound cannot hold, and the sound after its last word."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from server.audio_formats import SAMPLE_RATE
from server.engines.alignment import Text, Times
from server.engines.engine import EngineRow, Hypothesis, TimedWord
from server.engines.repetition import FEW, Repeat, find_repeat, held, repetition, timed

if TYPE_CHECKING:
    from server.engines.detokenize import Texts

RESTS = 3
"""So often at most is the rest of a window decoded again. Each begins where the one before it ended."""
_REST_SECONDS = 0.5
"""Where a text was cut off, so much sound after its last word is decoded again."""
EARLY_SECONDS = 1.5
"""A text that ends so long before its window does was ended too early: a window ends where the speech in it does."""
_SPARSE_SECONDS, _SPARSE_TOKENS = 2.5, 2.0
"""Fewer tokens a second than in slow speech, in a window of some length: it is looked up where the text ends."""
_SILENT, _POOR = 0.6, -1.0
"""Whisper's own rule for a window without speech: what it makes of a rest may not be worse."""


def suspect(texts: "Texts", text: Text) -> Repeat | None:
    """What may be a loop at a text's end; its sound will tell. A text without an end may be one that is not plain."""
    # One that ended by itself is no loop for the sake of a word or two.
    repeat = find_repeat([part for part in texts.parts(text.ids) if part], 1 if text.cut_off else 3)
    return repeat or (Repeat(1, 0) if text.cut_off else None)


def in_question(row: EngineRow, text: Text) -> bool:
    """Whether to find out where a text ends."""
    seconds = len(row.audio) / SAMPLE_RATE
    sparse = seconds >= _SPARSE_SECONDS and len(text.ids) < _SPARSE_TOKENS * seconds
    return bool(text.ids) and (text.cut_off or sparse)


def cut_loop(texts: "Texts", text: Text, repeat: Repeat, times: Times) -> None:
    """Cut off what a text says again and its sound cannot hold."""
    places = [i for i, part in enumerate(texts.parts(text.ids)) if part]
    starts = [times.starts[i] for i in places] + [times.end_s]
    seconds = np.diff(starts).tolist()
    kept = held(repeat, seconds) if repeat.length else len(places)
    single = repeat.period <= FEW and repeat.length > 0
    if text.cut_off and (said := timed(seconds)) < kept:
        kept, single = said, False
    if kept < len(places):
        text.ids, text.cut_off = text.ids[: places[kept]], True
        text.end_s = starts[kept] if single else None


def hypothesis(
    texts: "Texts",
    row: EngineRow,
    text: Text,
    times: Times | None,
    language: tuple[str, Mapping[str, float] | None],
    no_speech: float,
) -> Hypothesis:
    """What was heard; with `times`, its words have theirs."""
    words = None
    if times is not None:
        if text.ids and len(row.audio) / SAMPLE_RATE - times.end_s >= EARLY_SECONDS:
            text.cut_off = True
        # What is cut off ends where its last word does; else the last word has the time up to the end.
        text.end_s = (text.end_s or times.end_s) if text.cut_off else len(row.audio) / SAMPLE_RATE
        text.score = times.score if text.cut_off else text.score
        words = texts.timed(text.ids, times.first, times.chances, text.end_s)
    again = repetition([part for part in texts.parts(text.ids) if part])
    return Hypothesis(texts.decode(text.ids).strip(), no_speech, text.score, words, *language, again)


def rest_of(row: EngineRow, text: Text, language: str | None) -> tuple[EngineRow, float] | None:
    """What lies after the last word that was kept, and where it begins; None where that is no more than a breath."""
    if not (text.cut_off and text.ids and text.end_s) or len(row.audio) / SAMPLE_RATE - text.end_s < _REST_SECONDS:
        return None
    audio = row.audio[round(text.end_s * SAMPLE_RATE) :]
    # Another window than the one that begins at its place, and with nothing settled.
    rest = replace(row, audio=audio, language=language, choose=None, words=True, prefix="", stream=None)
    return rest, text.end_s


def joined(first: Hypothesis, rest: Hypothesis, begin_s: float) -> Hypothesis:
    """A window with its rest, which begins `begin_s` after it, where there is speech in that."""
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


def told(row: EngineRow, heard: Hypothesis) -> Hypothesis:
    """As it was asked for: with the words' times or without them."""
    return replace(heard, words=heard.words if row.words else None)


def chosen(row: EngineRow, probable: Mapping[str, float] | None) -> tuple[str, Mapping[str, float] | None]:
    """What a row is decoded in, and how probable each language is by its sound, where that was asked for."""
    if probable is None:
        return row.language or "en", None
    return (row.choose(probable) if row.choose is not None else max(probable, key=probable.__getitem__)), probable


def likely(codes: Sequence[str], chances: Sequence[float]) -> dict[str, float]:
    """Languages and their probabilities, the small ones left out."""
    return {code: float(p) for code, p in zip(codes, chances, strict=True) if p >= _LEAST_PROBABILITY}


_LEAST_PROBABILITY = 1e-3
"""Less probable languages are left out."""
