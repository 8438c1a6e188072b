"""How long the parts of a sweep take, about: what a person is told before it begins, and while it runs."""

BASELINE_SECONDS = 30.0
"""A level of one stream that others are only compared with is no longer than this: some ten utterances."""
BETWEEN_SECONDS = 2.0
"""After each level: last texts, the verdict, the history."""
WARM_UP_SECONDS = 5.0
"""Most servers are in time after so long; one that is not gets more."""
USUAL_BLOCKS = 4
"""A level that is held until its answer is known is held for so many times its duration, mostly."""
