"""The language of a stream whose client did not name one, from evidence that later speech can overturn.

Whisper's guess from half a second of audio is often wrong, and often confident. So each utterance adds the logarithms
of its probabilities, weighted by its length and score, and older evidence decays. The lead of a language is bounded:
one long utterance in another language is enough to change.
"""

from collections.abc import Mapping
from math import log

from server.engines.engine import Choice, Hypothesis

SURE_SECONDS = 3.0
"""A window of this length counts in full, a shorter one in proportion."""
_LEAD = 3.0
"""The most that a language can lead (natural logarithm): one long clear utterance overturns it."""
_LEAST = log(0.01)
"""Bounds the confidence of a single window."""
_OLDER = 0.8
"""The weight of earlier evidence after one more utterance."""
_SETTLED = 1.5
_POOR_SCORE = -1.0
"""A lower mean log probability may mean the wrong language: earlier evidence and this window then count half."""


class LanguageEvidence:
    """Each language's log distance behind the likeliest; `others`: that of all unnamed ones. Immutable."""

    __slots__ = ("_others", "_scores")

    def __init__(self, scores: Mapping[str, float] | None = None, others: float = 0.0) -> None:
        self._scores, self._others = dict(scores or {}), others

    def with_window(self, probabilities: Mapping[str, float], weight: float, decay: float = 1.0) -> "LanguageEvidence":
        """The evidence times `decay`, plus one window's log probabilities times `weight`."""
        scores = {
            code: decay * self._scores.get(code, self._others) + weight * _log(probabilities.get(code, 0.0))
            for code in {*self._scores, *probabilities}
        }
        others = decay * self._others + weight * _LEAST
        best = max([others, *scores.values()])
        floor = max(others - best, -_LEAD)
        return LanguageEvidence({c: s - best for c, s in scores.items() if s - best > floor}, floor)

    @property
    def best(self) -> str | None:
        """The likeliest language."""
        return max(self._scores, key=self._scores.__getitem__, default=None)

    @property
    def settled(self) -> bool:
        """Whether the likeliest is well ahead of the next."""
        behind = sorted([*self._scores.values(), self._others], reverse=True)[1:2]
        return bool(self._scores) and behind[0] <= -_SETTLED


def evidence_of(code: str | None) -> LanguageEvidence:
    """The initial evidence of a stream that was in a language before it moved here."""
    return LanguageEvidence({code: 0.0}, -_LEAD) if code else LanguageEvidence()


class StreamLanguage:
    """The language of one stream: given by its client, or detected."""

    __slots__ = ("_evidence", "given")

    def __init__(self, given: str | None, before: str | None = None) -> None:
        self.given = given
        self._evidence = evidence_of(before)

    @property
    def sure(self) -> bool:
        """Whether the language is given, or well ahead."""
        return self.given is not None or self._evidence.settled

    def for_window(self, seconds: float, *, last: bool) -> tuple[str | None, Choice | None]:
        """The language to decode a window in, or a choice by its own probabilities.

        The last window of an utterance, and one of `SURE_SECONDS` or more, is always detected again.
        """
        if self.given is not None:
            return self.given, None
        if self._evidence.settled and not last and seconds < SURE_SECONDS:
            return self._evidence.best, None
        return None, lambda probabilities: self._chosen(probabilities, seconds)

    def _chosen(self, probabilities: Mapping[str, float], seconds: float) -> str:
        return self._evidence.with_window(probabilities, _weight(seconds)).best or max(
            probabilities, key=probabilities.__getitem__
        )

    def learn(self, hypothesis: Hypothesis, seconds: float) -> None:
        """Add the evidence of an utterance's last window."""
        if self.given is not None or not hypothesis.language or not hypothesis.text:
            return
        # An engine without probabilities still names the language that it used.
        probabilities = hypothesis.languages or {hypothesis.language: 0.9}
        share = 0.5 if hypothesis.log_probability < _POOR_SCORE else 1.0
        self._evidence = self._evidence.with_window(probabilities, share * _weight(seconds), share * _OLDER)


def _log(probability: float) -> float:
    return max(_LEAST, log(probability)) if probability else _LEAST


def _weight(seconds: float) -> float:
    return min(1.0, seconds / SURE_SECONDS)
