"""How far a listener is behind while a stream still runs: where in what was said do the words last shown stand?

An estimate for the live table and for stopping overloaded levels early; the measured latencies come from the alignment
afterwards.
"""

from bisect import bisect_right
from collections.abc import Sequence

from capacity.corpus.normalization import normalise
from capacity.corpus.playlist import SpokenWord

_GRAM = 2
"""So many words in a row are looked for: a revised last word must not hide the place."""
_TAIL_WORDS = 6


class LiveLag:
    """Follows one stream. Words are looked for from now backwards, never before the place found last."""

    def __init__(self, spoken: Sequence[SpokenWord]) -> None:
        self._words = [word.word for word in spoken]
        self._due = [word.due for word in spoken]
        self._place = 0
        """How many words have been shown."""

    def behind(self, text: str, now: float) -> float:
        """Seconds since the first word was said that is not shown yet; 0 when all is shown.

        Args:
            text: what is shown, or its end.
            now: on the monotonic clock.
        """
        spoken = bisect_right(self._due, now)
        recent = normalise(" ".join(text.split()[-_TAIL_WORDS:]))
        self._place = max(self._place, self._find(recent, spoken + _GRAM))
        return max(0.0, now - self._due[self._place]) if self._place < spoken else 0.0

    def _find(self, recent: tuple[str, ...], before: int) -> int:
        before = min(before, len(self._words))
        for end in range(len(recent), _GRAM - 1, -1):
            gram = list(recent[end - _GRAM : end])
            for at in range(before, self._place + _GRAM - 1, -1):
                if self._words[at - _GRAM : at] == gram:
                    return at
        return 0
