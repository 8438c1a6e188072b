"""Whether a window held speech: text that a model makes of noise, breath or music is withheld.

Four figures decide: the decoder's probability of no speech, its log probability, the mean voice activity, and how much
the text repeats itself. None of them alone separates speech from noise (on base a cough and a quiet "seven" have the
same probability of no speech); their weighted sum does. The weights are a logistic regression over the sounds and
prompts of `make bench-heard` on tiny.en and base, rounded; docs/server.md has what they catch and cost.
"""

from math import log

from server.engines.engine import Hypothesis

_NO_SPEECH, _SCORE, _VOICE, _REPETITION, _BIAS = 2.3, -2.1, -3.6, 3.9, -3.4
_LEAST_NO_SPEECH = 0.1
"""Some models always put it near 0; that alone must not outweigh the others."""


def is_noise(hypothesis: Hypothesis, voice: float) -> bool:
    """Whether a text was more likely invented than spoken; `voice` is the mean probability of speech in its window."""
    if not any(c.isalnum() for c in hypothesis.text):
        return True  # punctuation alone
    return doubt(hypothesis, voice) > 0.0


def doubt(hypothesis: Hypothesis, voice: float) -> float:
    """The log odds that the window held no speech."""
    return (
        _NO_SPEECH * _logit(max(_LEAST_NO_SPEECH, hypothesis.no_speech))
        + _SCORE * hypothesis.log_probability
        + _VOICE * _logit(voice)
        + _REPETITION * hypothesis.repetition
        + _BIAS
    )


def _logit(probability: float) -> float:
    bounded = min(0.999, max(0.001, probability))
    return log(bounded / (1.0 - bounded))
