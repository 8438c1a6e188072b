"""Whisper's loops: after a short audio context it may begin its text again instead of ending it.

Seen with tiny.en in every context under 8 s: the text is complete, and then repeats its own last words until the token
limit. People repeat themselves, too: "no, no, no", or a sentence said twice. The audio tells them apart: an alignment
gives words that were not spoken no time. So the text makes a repeat suspect, and its words' times decide.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

TOKENS_PER_SECOND = 7.0
"""The limit for English, where fast speech has about 5; beyond it Whisper repeats itself."""
OTHER_TOKENS_PER_SECOND = 20.0
"""The same of other languages: a word of Russian has twice the tokens, and one of an Indian script four times."""
LONGEST_TEXT = 220
"""Tokens of a text at most: Whisper keeps the other half of its 448 positions for previous text."""
_SHORTEST_SECONDS = 0.03
"""A spoken part of a word takes longer; an invented one has no time of its own."""
_SHORTEST_WORD_SECONDS = 0.07
"""The same for a repeat of one or two whole words."""
FEW = 2
"""Loops of so many parts count as single words: aligning the kept text would stretch them over the rest."""

_LOOP = 3
"""Parts that a text repeats at its end, at the least, where it is a loop."""


def token_cap(seconds: float, language: str | None = "en", known: int = 0, new_s: float = math.inf) -> int:
    """How many tokens a text of so much audio may have; all but the last `new_s` of it was heard as `known` tokens."""
    rate = TOKENS_PER_SECOND if language == "en" else OTHER_TOKENS_PER_SECOND
    tokens = seconds * rate if seconds <= new_s else min(seconds * rate, known + new_s * rate)
    return min(LONGEST_TEXT, 4 + int(tokens))


_UNTIMED = 6
"""So many successive parts without time were not spoken, even if later ones have time."""


class Repeat(NamedTuple):
    """The last `length` parts of a text equal the parts `period` places before."""

    period: int
    length: int


def plain(part: str) -> str:
    """A part of a text in lower case without punctuation; may be empty."""
    return "".join(c for c in part.casefold() if c.isalnum())


def find_repeat(parts: Sequence[str], least: int = 1) -> Repeat | None:
    """The longest repeat of at least `least` parts at the end of a text, of plain parts; None without any."""
    best = Repeat(0, 0)
    for period in range(1, len(parts)):
        length = _repeated(parts, period)
        if length > best.length:
            best = Repeat(period, length)
    return best if best.length >= least else None


def without_rounds(parts: Sequence[str]) -> int | None:
    """How many parts stand before a loop begins to repeat them: its first round stays. None where there is no loop.

    A loop may end in a smaller one, and begin in a larger one. Words that are said again and again make no loop alone.
    """
    kept, found = len(parts), None
    while (repeat := find_repeat(parts[:kept], _LOOP)) is not None:
        kept -= repeat.length
        if repeat.period > FEW:
            found = kept
    return found


def held(repeat: Repeat, seconds: Sequence[float]) -> int:
    """How many of a text's parts were spoken: all before the first repeat most of whose parts take no time.

    Args:
        repeat: of these parts.
        seconds: how long each part takes, by an alignment of the whole text with its sound.
    """
    word = repeat.period <= FEW
    took = [each >= (_SHORTEST_WORD_SECONDS if word else _SHORTEST_SECONDS) for each in seconds]
    # A single part without time is an alignment error; of single words two must lack it.
    step = 2 if word else repeat.period
    for begin in range(len(took) - repeat.length, len(took), 1 if word else step):
        again = took[begin : begin + step]
        if any(again) if word else 2 * sum(again) > len(again):
            continue
        return _before(took, begin) if begin == len(took) - repeat.length else begin
    return len(took)


def timed(seconds: Sequence[float]) -> int:
    """How many of a text's parts were spoken, where its loop is inexact.

    A loop with small variations is no repeat; an alignment gives the time to its first and last round.

    Args:
        seconds: how long each part takes, by an alignment of the whole text with its sound.
    """
    run = 0
    for place, each in enumerate(seconds):
        run = run + 1 if each < _SHORTEST_SECONDS else 0
        if run == _UNTIMED:
            return place + 1 - run
    return len(seconds)


def without_untimed(seconds: Sequence[float]) -> int:
    """How many parts stand before those at a text's end that take no time; one alone may be cut by its window."""
    length = len(seconds)
    while length and seconds[length - 1] < _SHORTEST_SECONDS:
        length -= 1
    return length if len(seconds) - length > 1 else len(seconds)


def _before(took: Sequence[bool], begin: int) -> int:
    """An inexact loop began before `begin`: there, too, parts take no time."""
    while begin > 1 and not took[begin - 1]:
        begin -= 1
    return begin


def repetition(parts: Sequence[str]) -> float:
    """The share of repeated pairs of parts, 0 to 1."""
    pairs = list(pairwise(parts))
    return 1 - len(set(pairs)) / len(pairs) if len(pairs) > 1 else 0.0


def _repeated(parts: Sequence[str], period: int) -> int:
    """How many of the last parts equal the part `period` places before."""
    length = 0
    while length + period < len(parts) and parts[-1 - length] == parts[-1 - length - period]:
        length += 1
    return length
