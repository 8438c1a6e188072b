"""LocalAgreement-2: what two hypotheses in a row agree on will not change any more.

The policy of Macháček et al., "Turning Whisper into Real-Time Transcription System" (2023): the longest common prefix
of two consecutive hypotheses is stable. The last words of a hypothesis never are: their sound may not be complete, and
what follows may still turn "end voice" into "invoice". A word that is stable too soon stays wrong in the final.
"""

from collections.abc import Sequence
from itertools import takewhile

HELD_BACK = 3
"""Words at the end of a hypothesis that are never stable."""


_SLACK = 2
"""Words by which a hypothesis may differ in number where it says what was stable."""


class Agreement:
    """The words of one utterance: those that will not change, and the last hypothesis."""

    __slots__ = ("_last", "stable", "words")

    def __init__(self) -> None:
        self.stable: list[str] = []
        self.words: list[str] = []
        self._last: list[str] = []

    def add(self, hypothesis: Sequence[str], *, before: int = 0, comparable: bool = True, hold: bool = False) -> None:
        """Take a new hypothesis.

        Args:
            hypothesis: its words, after the first stable ones.
            before: how many of these there are.
            comparable: with the last one; not so when it is in another language.
            hold: let no further word become stable.
        """
        words = [*self.stable[:before], *with_prefix(self.stable[before:], hypothesis)]
        if hold or not comparable:
            self.words = self._last = words
            return
        pairs = zip(words[:-HELD_BACK], self._last, strict=False)
        agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if agreed > len(self.stable):
            self.stable = words[:agreed]
        self.words = self._last = words

    def settle(self, count: int) -> None:
        """The first words of the last hypothesis will not change any more."""
        if count > len(self.stable):
            self.stable = self.words[:count]

    def after(self, count: int) -> "Agreement":
        """The words after the first ones, as they stand."""
        rest = Agreement()
        rest.stable, rest.words, rest._last = self.stable[count:], self.words[count:], self._last[count:]
        return rest

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
    # The same sound is heard as about as many words: what is said twice must not be found a sentence later.
    slack = _SLACK + count // 4
    places = range(min(max(0, count - slack), len(heard)), min(count + slack, len(heard)) + 1)
    # Of equally good places the latest: repeating a word reads worse than missing one that was stable anyway.
    end = min(places, key=lambda j: (row[j], -j))
    return [*stable, *hypothesis[end:]]


def _plain(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum()) or word
