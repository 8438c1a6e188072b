"""Whether anybody spoke at all: text that a model makes of noise, breath or music is not told.

Three witnesses, each fallible: the decoder's probability of no speech, how sure it was of its words, and how sure voice
activity was over the window; and Whisper repeats itself where it hears nothing. None of them alone parts speech from
noise (on base a cough and a quiet "seven" have the same probability of no speech); their sum does, on either model. The
weights are a logistic regression's over `make bench-heard`'s sounds and prompts on tiny.en and base, rounded;
docs/server.md has what they catch and what they cost.
"""

from math import log

from server.engines.engine import Hypothesis

_NO_SPEECH, _SCORE, _VOICE, _REPETITION, _BIAS = 2.3, -2.1, -3.6, 3.9, -3.4
_LEAST_NO_SPEECH = 0.1
"""Some models put it near 0 whatever they hear; that alone must not outweigh the rest."""


def is_noise(heard: Hypothesis, voice: float) -> bool:
    """Whether a text was more likely invented than spoken; `voice` is the mean probability of speech in its window."""
    if not any(c.isalnum() for c in heard.text):
        return True  # signs alone are nobody's words
    return doubt(heard, voice) > 0.0


def doubt(heard: Hypothesis, voice: float) -> float:
    """The logarithm of the odds that nobody spoke."""
    return (
        _NO_SPEECH * _logit(max(_LEAST_NO_SPEECH, heard.no_speech))
        + _SCORE * heard.log_probability
        + _VOICE * _logit(voice)
        + _REPETITION * heard.repetition
        + _BIAS
    )


def _logit(probability: float) -> float:
    bounded = min(0.999, max(0.001, probability))
    return log(bounded / (1.0 - bounded))
