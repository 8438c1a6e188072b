"""Words as Whisper's English normalisation sees them, so that "It's" and "it is" are no difference between servers."""

from functools import cache, lru_cache

from rapidfuzz.distance import Levenshtein
from whisper_normalizer.english import EnglishTextNormalizer


@cache
def _normalizer() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


@lru_cache(maxsize=1 << 16)
def normalise(text: str) -> tuple[str, ...]:
    """The normalised words of a text. Partial results repeat each other, so answers are kept."""
    return tuple(_normalizer()(text).split()) if text else ()


def equal_runs(ours: tuple[str, ...], theirs: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Where two word sequences agree, as (start in ours, start in theirs, length), by edit-distance alignment."""
    return [
        (op.src_start, op.dest_start, op.src_end - op.src_start)
        for op in Levenshtein.opcodes(ours, theirs)
        if op.tag == "equal"
    ]
