"""How sure a word error rate is: a share of some hundred words, and utterances that are hard or easy as a whole.

Errors are counted by utterance, over all streams that said it, and every utterance is one vote with its errors in
excess of a limit. The sum of the votes over the root of the sum of their squares (a self-normalised sum; its law is
close to Student's with n - 1 degrees of freedom, and narrower) says whether the excess can be luck. Errors in the
words of one utterance are not independent: counting words as if they were makes the interval several times too narrow.
"""

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from whisper_ops import student_t
from whisper_ops.objective.findings import WordErrors
from whisper_ops.objective.grammar import ObjectiveTerm

Clips: TypeAlias = Mapping[str, tuple[int, int]]
"""Utterance to its word errors and words, over all streams that said it."""

CONFIDENCE = 0.95
"""One-sided."""
_MOST_WORDS = 100_000
_RULE_OF_THREE = 3.0
"""Where none of n words was wrong, the rate is below 3 / n with 95 %."""


class Excess(msgspec.Struct, frozen=True):
    """Word errors of a level, in all or beyond those of another level, utterance by utterance."""

    wrong: tuple[float, ...]
    """Errors of each utterance, less those expected from the other level."""
    words: tuple[int, ...]
    unsure: float = 0.0
    """By how much the other level's errors a word are uncertain, where it said other utterances."""

    @property
    def value(self) -> float:
        """Errors a word."""
        return sum(self.wrong) / sum(self.words)

    @property
    def margin(self) -> float:
        """By how much `value` is uncertain, at `CONFIDENCE`; infinite with a single utterance."""
        count = len(self.wrong)
        if count < 2:
            return math.inf
        squares = sum((w - self.value * n) ** 2 for w, n in zip(self.wrong, self.words, strict=True))
        own = student_t.quantile(count - 1, CONFIDENCE) * math.sqrt(squares * count / (count - 1)) / sum(self.words)
        return own + self.unsure

    def beyond(self, limit: float) -> Literal["yes", "no", "open"]:
        """Whether there are more errors than `limit` allows; open: there seem to be, and it can be luck."""
        if self.value <= limit + 1e-9:
            return "no"
        sure = limit + self.unsure
        if len(self.words) < 2 or math.isinf(sure):
            return "open"
        return "yes" if self._score(sure) > student_t.quantile(len(self.words) - 1, CONFIDENCE) else "open"

    def words_to_tell(self, limit: float) -> int | None:
        """About how many words, in all, would show an excess like this one; None: more than anybody will play."""
        if len(self.words) < 2 or math.isinf(self.unsure):
            return None
        score = self._score(limit + self.unsure)
        if score <= 0:
            return None
        # The score grows with the root of the number of utterances, and a few utterances can never show anything.
        words = sum(self.words) * max(student_t.quantile(len(self.words) - 1, CONFIDENCE) / score, 1.0) ** 2
        return math.ceil(words / 50) * 50 if words < _MOST_WORDS else None

    def _score(self, limit: float) -> float:
        votes = [w - limit * n for w, n in zip(self.wrong, self.words, strict=True)]
        return sum(votes) / math.sqrt(sum(vote * vote for vote in votes) or 1.0)


class WordErrorVerdict(msgspec.Struct, frozen=True):
    """That a condition on word errors was judged, and what speaks against the level."""

    finding: WordErrors | None
    """None: it is met."""


def total_errors(clips: Clips) -> Excess | None:
    """The word errors of a level; None when it said nothing."""
    spoken = [(wrong, words) for wrong, words in clips.values() if words]
    return Excess(tuple(float(w) for w, _ in spoken), tuple(n for _, n in spoken)) if spoken else None


def paired_excess(clips: Clips, others: Clips) -> Excess | None:
    """The word errors of a level beyond those of another, over the utterances that both said; None: there are none.

    Some utterances are harder than others: over different ones the difference would be mostly luck.
    """
    wrong, words = [], []
    for clip in sorted(clips.keys() & others.keys()):
        (errors, spoken), (other_errors, other_spoken) = clips[clip], others[clip]
        if spoken and other_spoken:
            wrong.append(errors - other_errors / other_spoken * spoken)
            words.append(spoken)
    return Excess(tuple(wrong), tuple(words)) if words else None


def unpaired_excess(clips: Clips, others: Clips) -> Excess | None:
    """Where no utterance was said in both: errors beyond the other level's errors a word, which are uncertain too."""
    here, there = total_errors(clips), total_errors(others)
    if here is None or there is None:
        return None
    wrong = (errors - there.value * said for errors, said in zip(here.wrong, here.words, strict=True))
    return Excess(tuple(wrong), here.words, unsure=max(there.margin, _RULE_OF_THREE / sum(there.words)))


def pooled(*levels: Clips) -> Clips:
    """The utterances of several measurements of the same load together."""
    found: dict[str, tuple[int, int]] = {}
    for clips in levels:
        for clip, (wrong, words) in clips.items():
            before = found.get(clip, (0, 0))
            found[clip] = (before[0] + wrong, before[1] + words)
    return found


def judge_word_errors(term: ObjectiveTerm, clips: Clips, one_stream: Clips) -> WordErrorVerdict | None:
    """Compare a level with a condition on its WER; None when its utterances say nothing about it."""
    if term.name != "wer" or not term.at_most:
        return None
    excess = (
        paired_excess(clips, one_stream) or unpaired_excess(clips, one_stream) if term.relative else total_errors(clips)
    )
    if excess is None:
        return None
    answer = excess.beyond(term.limit)
    if answer == "no":
        return WordErrorVerdict(None)
    return WordErrorVerdict(
        WordErrors(
            missed=answer == "yes",
            value=excess.value,
            margin=None if math.isinf(excess.margin) else excess.margin,
            limit=term.limit,
            relative=term.relative,
            words=sum(excess.words),
            enough=excess.words_to_tell(term.limit),
        )
    )
