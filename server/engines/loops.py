"""Whisper's loops: after a short audio context it may begin its text again instead of ending it.

Seen with tiny.en in every context under 8 s, and always the same way: the text is complete, and then repeats its own
last sentence word for word until the token limit. So a tail that repeats what stands right before it is cut off.
"""

from collections.abc import Sequence

_ENDINGS = ".?!"
TOKENS_PER_SECOND = 7.0
"""More tokens than this a second of audio, and a few, is Whisper repeating itself; fast speech has about 5."""
LONGEST_TEXT = 220
"""Tokens of a text at most: Whisper keeps the other half of its 448 positions for previous text."""


def token_cap(seconds: float) -> int:
    """How many tokens a text of so much audio may have."""
    return min(LONGEST_TEXT, 4 + int(seconds * TOKENS_PER_SECOND))


def loop_start(words: Sequence[str]) -> int:
    """How many words to keep: all, or those before the tail that repeats the words right before it.

    A tail counts as a loop when it repeats three words or more; two that begin a sentence anew, as a sentence began;
    or, of one or two words said over and over, at least six, since people do say "no, no, no".
    """
    plain = ["".join(c for c in word.casefold() if c.isalnum()) for word in words]
    best = 0
    for period in range(1, len(plain)):
        length = _repeated(plain, period)
        if length > best and _is_loop(words, period, length):
            best = length
    return len(words) - best


def _repeated(plain: Sequence[str], period: int) -> int:
    """Words at the end that equal the word `period` places before."""
    length = 0
    while length + period < len(plain) and plain[-1 - length] == plain[-1 - length - period]:
        length += 1
    return length


def _is_loop(words: Sequence[str], period: int, length: int) -> bool:
    if period <= 2:
        return length >= 6
    if length >= 3:
        return True
    again = len(words) - length
    first = again - period
    begins = words[again - 1][-1] in _ENDINGS and (first == 0 or words[first - 1][-1] in _ENDINGS)
    return length == 2 and begins
