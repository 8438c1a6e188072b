"""Which part of an utterance is decoded again for its next text: all of it, or what follows the words that are settled.

A window that grows with the utterance costs ever more: at 15 s several times what the new words would. So once a
window is longer than the bound, its words' times are asked for, and the next one begins at a stable word with some
sound before the first word that may still change: without that sound to the left a model hears the next words worse.
docs/server.md has what each rule costs in words and in time.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WindowRule:
    """Times in seconds."""

    bound: float
    """A longer window asks for its words' times, so that the next one begins later."""
    left: float
    """Sound of words that are settled, at the beginning of a window."""
    hold: float = math.inf
    """Words that end so long before their window does will not change any more, once they are timed."""
    sure: float = 0.0
    """The least probability of such a word where the language is not English; a less probable one is heard again first.

    English has as many words right without, and its least probable words would come a text later.
    """
    thrifty: bool = True
    """When the engine is behind: a short pause is no reason to decode, nor is a breath of new speech."""
    forced: bool = True
    """What is stable is given to the engine as the beginning of the window's text."""
    own_contexts: bool = True
    """Where the engine can, each window has an audio context of its own."""

    def least_probability(self, language: str | None) -> float:
        """Of a word that one window alone may settle, in that language; None: it is not known."""
        return 0.0 if language in ("en", None) else self.sure


WHOLE = WindowRule(math.inf, math.inf, thrifty=False, forced=False, own_contexts=False)
"""Every window begins where its utterance does, and is heard anew: what `make bench-server` compares with."""
BOUNDED = WindowRule(bound=4.0, left=2.5, hold=2.0, sure=0.8)
"""What streams are served by."""
VARIABLE = "WHISPER_OPS_WINDOWS"


def rule_for(name: str | None) -> WindowRule:
    """The rule that the environment's variable names; it is there for benchmarks."""
    return WHOLE if name == "whole" else BOUNDED
