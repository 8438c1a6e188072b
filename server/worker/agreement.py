"""LocalAgreement-2: what two hypotheses in a row agree on will not change any more.

The policy of Macháček et al., "Turning Whisper into Real-Time Transcription System" (2023): the longest common prefix
of two consecutive hypotheses is stable. The last words of a hypothesis never are: their sound may not be complete, and
what follows may still turn "end voice" into "invoice". A word that is stable too soon stays wrong in the final.
"""

from collections.abc import Sequence
from itertools import takewhile

HELD_BACK = 3
"""Words at the end of a hypothesis that are never stable."""


class Agreement:
    """The words of one utterance: those that will not change, and the last hypothesis."""

    __slots__ = ("_last", "stable", "words")

    def __init__(self) -> None:
        self.stable: list[str] = []
        self.words: list[str] = []
        self._last: list[str] = []

    def add(self, hypothesis: Sequence[str], *, comparable: bool = True, hold: bool = False) -> None:
        """Take a new hypothesis of the whole utterance.

        Args:
            hypothesis: its words.
            comparable: with the last one; not so when it is in another language.
            hold: let no further word become stable.
        """
        words = with_prefix(self.stable, hypothesis)
        if hold or not comparable:
            self.words = self._last = words
            return
        pairs = zip(words[:-HELD_BACK], self._last, strict=False)
        agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if agreed > len(self.stable):
            self.stable = words[:agreed]
        self.words = self._last = words

    @property
    def text(self) -> str:
        """The whole text as it stands."""
        return " ".join(self.words)

    @property
    def stable_chars(self) -> int:
        """Characters at the start of `text` that will not change."""
        return len(" ".join(self.stable))


def with_prefix(stable: Sequence[str], hypothesis: Sequence[str]) -> list[str]:
    """The hypothesis, rewritten so that it begins with the stable words.

    Where it differs, the stable words take the place of the part of it that fits them best (by edit distance), so that
    no word is said twice and none is lost.
    """
    count = len(stable)
    if list(hypothesis[:count]) == list(stable):
        return list(hypothesis)
    said, heard = [_plain(w) for w in stable], [_plain(w) for w in hypothesis]
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    # Of equally good places the latest: repeating a word reads worse than missing one that was stable anyway.
    end = min(range(len(row)), key=lambda j: (row[j], -j))
    return [*stable, *hypothesis[end:]]


def _plain(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum()) or word
