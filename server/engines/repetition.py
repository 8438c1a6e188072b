"""Whisper's loops: after a short audio context it may begin its text again instead of ending it.

Seen with tiny.en in every context under 8 s, and always the same way: the text is complete, and then repeats its own
last words until the token limit. People repeat themselves, too: "no, no, no", or a sentence said twice. What tells one
from the other is the sound: words that nobody said have no time of their own, and an alignment gives them none. So a
repeat is only suspected from the text; it is cut off where its words take no time.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

TOKENS_PER_SECOND = 7.0
"""More tokens than this a second of English, and a few, is Whisper repeating itself; fast speech has about 5."""
OTHER_TOKENS_PER_SECOND = 20.0
"""The same of other languages: a word of Russian has twice the tokens, and one of an Indian script four times."""
LONGEST_TEXT = 220
"""Tokens of a text at most: Whisper keeps the other half of its 448 positions for previous text."""
_SHORTEST_SECONDS = 0.03
"""A part of a word that was said takes longer than that; one that was not shares its moment with the next."""
_SHORTEST_WORD_SECONDS = 0.07
"""The same of one or two words over and over: a whole word is longer than a part of one."""
FEW = 2
"""A loop of so many words is one of single words: an alignment of what is kept would stretch them over the rest."""


def token_cap(seconds: float, language: str | None = "en") -> int:
    """How many tokens a text of so much audio may have."""
    return min(LONGEST_TEXT, 4 + int(seconds * (TOKENS_PER_SECOND if language == "en" else OTHER_TOKENS_PER_SECOND)))


_UNTIMED = 6
"""So many parts one after the other without time are nobody's words, even if some later ones have theirs."""


class Repeat(NamedTuple):
    """The end of a text says again what stands right before it: `length` parts repeat those `period` before."""

    period: int
    length: int


def plain(part: str) -> str:
    """A part of a text without what writing adds to it: empty for a mere sign."""
    return "".join(c for c in part.casefold() if c.isalnum())


def find_repeat(parts: Sequence[str], least: int = 1) -> Repeat | None:
    """The longest repeat of at least `least` parts at the end of a text, of plain parts; None without any."""
    best = Repeat(0, 0)
    for period in range(1, len(parts)):
        length = _repeated(parts, period)
        if length > best.length:
            best = Repeat(period, length)
    return best if best.length >= least else None


def held(repeat: Repeat, seconds: Sequence[float]) -> int:
    """How many of a text's parts its sound holds: all before the first repeat most of whose parts take no time.

    Args:
        repeat: of these parts.
        seconds: how long each part takes, by an alignment of the whole text with its sound.
    """
    word = repeat.period <= FEW
    took = [each >= (_SHORTEST_WORD_SECONDS if word else _SHORTEST_SECONDS) for each in seconds]
    # One part without time between others that have theirs is the alignment's fault; of single words two must lack it.
    step = 2 if word else repeat.period
    for begin in range(len(took) - repeat.length, len(took), 1 if word else step):
        again = took[begin : begin + step]
        if any(again) if word else 2 * sum(again) > len(again):
            continue
        return _before(took, begin) if begin == len(took) - repeat.length else begin
    return len(took)


def timed(seconds: Sequence[float]) -> int:
    """How many of a text's parts come before the first that nobody said, where its loop is not plain to see.

    A loop that says its sentence a little otherwise each time repeats nothing; an alignment gives its time to the first
    and to the last one.

    Args:
        seconds: how long each part takes, by an alignment of the whole text with its sound.
    """
    run = 0
    for place, each in enumerate(seconds):
        run = run + 1 if each < _SHORTEST_SECONDS else 0
        if run == _UNTIMED:
            return place + 1 - run
    return len(seconds)


def _before(took: Sequence[bool], begin: int) -> int:
    """A text that is not repeated word for word began again before `begin`: there, too, no part takes time."""
    while begin > 1 and not took[begin - 1]:
        begin -= 1
    return begin


def repetition(parts: Sequence[str]) -> float:
    """How much of a text says again what it said already, 0 to 1, counted in pairs of its parts."""
    pairs = list(pairwise(parts))
    return 1 - len(set(pairs)) / len(pairs) if len(pairs) > 1 else 0.0


def _repeated(parts: Sequence[str], period: int) -> int:
    """Parts at the end that equal the part `period` places before."""
    length = 0
    while length + period < len(parts) and parts[-1 - length] == parts[-1 - length - period]:
        length += 1
    return length
