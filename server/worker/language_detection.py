"""Which language a stream speaks, where its client did not say: evidence that later speech can overturn.

Whisper's guess from half a second of sound is often wrong, and often sure. So a stream's language is no single guess:
each utterance adds the logarithms of its probabilities, weighed by how long and how clear it was, and what is older
counts less. What the evidence can be ahead by is bounded: one long utterance in another language is enough to change.
"""

from collections.abc import Mapping
from math import log

from server.engines.engine import Choice, Hypothesis

SURE_SECONDS = 3.0
"""A window of so much sound counts in full; a shorter one by its share."""
_LEAD = 3.0
"""How far one language can be ahead of the others (natural logarithm): what a long clear utterance overturns."""
_LEAST = log(0.01)
"""However sure a single window is."""
_OLDER = 0.8
"""What earlier evidence is worth after one more utterance."""
_SETTLED = 1.5
_POOR_SCORE = -1.0
"""A text of a lower score may be in the wrong language: then what was believed counts half, and so does this window."""


class LanguageEvidence:
    """How far each language is behind the likeliest (natural logarithms). Immutable. Those not named are furthest."""

    __slots__ = ("_others", "_scores")

    def __init__(self, scores: Mapping[str, float] | None = None, others: float = 0.0) -> None:
        self._scores, self._others = dict(scores or {}), others

    def with_window(self, found: Mapping[str, float], weight: float, kept: float = 1.0) -> "LanguageEvidence":
        """The evidence and what one more window says, counted `weight` times; of the earlier one `kept` is left."""
        scores = {
            code: kept * self._scores.get(code, self._others) + weight * _log(found.get(code, 0.0))
            for code in {*self._scores, *found}
        }
        others = kept * self._others + weight * _LEAST
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


def believed(code: str | None) -> LanguageEvidence:
    """What is known of a stream that goes on here and was in a language before."""
    return LanguageEvidence({code: 0.0}, -_LEAD) if code else LanguageEvidence()


class StreamLanguage:
    """The language of one stream: given by its client, or made out from what is heard."""

    __slots__ = ("_evidence", "given")

    def __init__(self, given: str | None, before: str | None = None) -> None:
        self.given = given
        self._evidence = believed(before)

    @property
    def sure(self) -> bool:
        """Whether a text's first words can be relied on to be in the right language."""
        return self.given is not None or self._evidence.settled

    def for_window(self, seconds: float, *, last: bool) -> tuple[str | None, Choice | None]:
        """What to decode a window in: a language, or a choice among those it sounds like.

        The last window of an utterance, and one long enough to tell, is always listened to anew.
        """
        if self.given is not None:
            return self.given, None
        if self._evidence.settled and not last and seconds < SURE_SECONDS:
            return self._evidence.best, None
        return None, lambda found: self._chosen(found, seconds)

    def _chosen(self, found: Mapping[str, float], seconds: float) -> str:
        return self._evidence.with_window(found, _weight(seconds)).best or max(found, key=found.__getitem__)

    def learn(self, heard: Hypothesis, seconds: float) -> None:
        """Take what the last window of an utterance sounded like."""
        if self.given is not None or not heard.language or not heard.text:
            return
        # An engine that does not say how probable each language is says at least which it took.
        found = heard.languages or {heard.language: 0.9}
        share = 0.5 if heard.log_probability < _POOR_SCORE else 1.0
        self._evidence = self._evidence.with_window(found, share * _weight(seconds), share * _OLDER)


def _log(probability: float) -> float:
    return max(_LEAST, log(probability)) if probability else _LEAST


def _weight(seconds: float) -> float:
    return min(1.0, seconds / SURE_SECONDS)
