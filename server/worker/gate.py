"""Whether anybody spoke at all: text that a model makes of noise, breath or music is not told.

Three witnesses, each fallible: the decoder's own probability of no speech, how sure it was of its words, and how sure
the voice activity detector was over the window. Whisper repeats itself where it hears nothing, so that counts too. No
single threshold parts speech from noise on every model (on base a cough and a quiet "seven" have the same probability
of no speech), their sum does. The weights come from a logistic regression over `make bench-heard`'s sounds and prompts
on tiny.en and base; docs/server.md has what they catch and what they cost.
"""

from math import log

from server.engines.base import Hypothesis

_NO_SPEECH, _SCORE, _VOICE, _REPETITION, _BIAS = 0.75, -2.2, -2.1, 0.0, -2.1


def is_noise(heard: Hypothesis, voice: float) -> bool:
    """Whether a text was more likely invented than spoken; `voice` is the mean probability of speech in its window."""
    return doubt(heard, voice) > 0.0


def doubt(heard: Hypothesis, voice: float) -> float:
    """The logarithm of the odds that nobody spoke."""
    return (
        _NO_SPEECH * _logit(heard.no_speech)
        + _SCORE * heard.log_probability
        + _VOICE * _logit(voice)
        + _REPETITION * heard.repetition
        + _BIAS
    )


def _logit(probability: float) -> float:
    bounded = min(0.999, max(0.001, probability))
    return log(bounded / (1.0 - bounded))
