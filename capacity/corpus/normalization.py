"""Words as Whisper's English normalisation sees them, so that "It's" and "it is" are no difference between servers."""

from functools import cache, lru_cache

from rapidfuzz.distance import Levenshtein
from whisper_normalizer.english import EnglishTextNormalizer

_KEPT = 4_000
_LONGEST = 200_000
"""Characters: four hours of talk. What a server sends beyond it is no transcript."""
_WORDS = 40_000
"""Words, of which an alignment takes the square in bits: 200 MB."""
_BRACKETS = 100
_WITHOUT_BRACKETS = str.maketrans(dict.fromkeys("[]<>()", " "))
_PIECE = 400
"""Written words that are normalised at once: three minutes of talk."""
_WORD = 60
"""Characters of a written word."""


@cache
def _normalizer() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


def normalise(text: str) -> tuple[str, ...]:
    """The normalised words of a text, whoever sent it: at most so many, in time that grows with its length."""
    return _kept(text) if len(text) <= _KEPT else _normalised(text[:_LONGEST])


@lru_cache(maxsize=1 << 16)
def _kept(text: str) -> tuple[str, ...]:
    """Partial results repeat each other, so answers are kept; of long texts they would take gigabytes."""
    return _normalised(text)


def _normalised(text: str) -> tuple[str, ...]:
    # The normaliser takes the square of a run of blanks, of brackets that nobody closes, and of numbers in a row; a run
    # of digits that is no number breaks it. Speech has none of these.
    if sum(map(text.count, "[<(")) > _BRACKETS:
        text = text.translate(_WITHOUT_BRACKETS)
    written = [part for word in text.split() for part in _parts(word)]
    words: list[str] = []
    while written and len(words) < _WORDS:
        end = _end_of_piece(written)
        words += _normalised_piece(" ".join(written[:end]))
        del written[:end]
    return tuple(words[:_WORDS])


def _parts(word: str) -> list[str]:
    """A word, or of something much longer than any word pieces of it."""
    return [word] if len(word) <= _WORD else [word[at : at + _WORD] for at in range(0, len(word), _WORD)]


def _end_of_piece(written: list[str]) -> int:
    """Where a long text is cut: at the end of a sentence where there is one, since words are joined across others."""
    if len(written) <= _PIECE:
        return len(written)
    ends = (at for at in range(_PIECE, min(_PIECE + _PIECE // 2, len(written))) if written[at - 1][-1] in ".?!")
    return next(ends, _PIECE)


def _normalised_piece(text: str) -> list[str]:
    try:
        return list(_normalizer()(text).split())
    except (AssertionError, ValueError, OverflowError, ZeroDivisionError):  # a number that is none
        return text.lower().split()


def equal_runs(ours: tuple[str, ...], theirs: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Where two word sequences agree, as (start in ours, start in theirs, length), by edit-distance alignment."""
    return [
        (op.src_start, op.dest_start, op.src_end - op.src_start)
        for op in Levenshtein.opcodes(ours, theirs)
        if op.tag == "equal"
    ]
