"""LocalAgreement-2: what two hypotheses in a row agree on will not change any more.

The policy of Macháček et al., "Turning Whisper into Real-Time Transcription System" (2023): the longest common prefix
of two hypotheses is stable, here of two that lie a second apart. The last words of a hypothesis never are: their sound
may not be complete, and what follows may still turn "end voice" into "invoice". A word that is stable too soon stays
wrong in the final.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

HELD_BACK = 3
"""Words at the end of a hypothesis that are never stable."""


_SLACK = 2
"""Words by which a hypothesis may differ in number where it says what was stable."""


APART_SECONDS = 1.0
"""So much sound lies between two hypotheses that are held against each other: half a second later a model hears the
same wrong word again."""


class _Past(NamedTuple):
    at_s: float
    words: list[str]


class Agreement:
    """The words of one utterance: those that will not change, and the last hypotheses."""

    __slots__ = ("_past", "stable", "words")

    def __init__(self) -> None:
        self.stable: list[str] = []
        self.words: list[str] = []
        self._past: list[_Past] = []
        """Hypotheses since the newest that is old enough to be compared with, and that one first."""

    def add(
        self,
        hypothesis: Sequence[str],
        *,
        before: int = 0,
        at_s: float | None = None,
        comparable: bool = True,
        hold: bool = False,
    ) -> None:
        """Take a new hypothesis.

        Args:
            hypothesis: its words, after the first stable ones.
            before: how many of these there are.
            at_s: where its sound ended; None: far from the last one.
            comparable: with earlier ones; not so when it is in another language.
            hold: let no further word become stable.
        """
        words = [*self.stable[:before], *with_prefix(self.stable[before:], hypothesis)]
        end_s = APART_SECONDS + (self._past[-1].at_s if self._past else 0.0) if at_s is None else at_s
        if not comparable:
            self._past.clear()
        old = [i for i, past in enumerate(self._past) if past.at_s <= end_s - APART_SECONDS + 1e-6]
        if old:
            del self._past[: old[-1]]
        if old and not hold:
            agreed = min(_alike(words[:-HELD_BACK], past.words) for past in self._past)
            self.settle(agreed, words)
        self.words = words
        self._past.append(_Past(end_s, words))

    def settle(self, count: int, words: Sequence[str] | None = None) -> None:
        """The first words of the last hypothesis, or of another one, will not change any more."""
        if count > len(self.stable):
            self.stable = list((self.words if words is None else words)[:count])

    def after(self, count: int) -> "Agreement":
        """The words after the first ones, as they stand."""
        rest = Agreement()
        rest.stable, rest.words = self.stable[count:], self.words[count:]
        rest._past = [_Past(past.at_s, past.words[count:]) for past in self._past]  # of this class
        return rest

    @property
    def text(self) -> str:
        """The whole text as it stands."""
        return " ".join(self.words)

    @property
    def stable_chars(self) -> int:
        """Characters at the start of `text` that will not change."""
        return len(" ".join(self.stable))


def _alike(words: Sequence[str], others: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False)))


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
