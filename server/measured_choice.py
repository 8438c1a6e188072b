"""Which of two ways of the same work is quicker, learnt as work is done: machines and models differ. Pure."""

FORGET = 0.9
"""What a measurement counts for after one more of either way: what is known of a way that is seldom tried is old."""
_ENOUGH = 3
"""Measurements of each way before either is preferred."""
_AGAIN = 64
"""After so many in all the way that was tried less is tried again: what else runs there may be something else now."""


class MeasuredChoice:
    """Between a usual way and another one, which is preferred where it saves the share `worth` of the usual time."""

    def __init__(self, worth: float = 0.0) -> None:
        self._worth = worth
        self._took = {False: 0.0, True: 0.0}
        self._tried = {False: 0, True: 0}
        self._at = {False: 0, True: 0}
        """How many measurements there were when it was tried last."""

    def other(self) -> bool:
        """Whether the next work is to be done in the other way."""
        fewest = min(self._tried, key=self._tried.__getitem__)
        if self._tried[fewest] < _ENOUGH or sum(self._tried.values()) % _AGAIN == _AGAIN - 1:
            return fewest
        return self._took[True] <= (1 - self._worth) * self._took[False]

    def measured(self, seconds: float, *, other: bool) -> None:
        """A unit of work took so long in that way."""
        now = sum(self._tried.values()) + 1
        weight = 1.0 - FORGET ** (now - self._at[other]) if self._tried[other] else 1.0
        self._took[other] += weight * (seconds - self._took[other])
        self._tried[other] += 1
        self._at[other] = now
