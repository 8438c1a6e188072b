"""When a stream's audio is due: as if it came in real time. What comes before that is surplus, and waits."""

CREDIT_SECONDS = 2.0
"""So much audio may come at once: networks deliver in bursts, and clients begin with what they kept."""


class RealTimePace:
    """Of one stream. Times are seconds of the worker's clock."""

    __slots__ = ("_free", "due")

    def __init__(self, free_seconds: float = 0.0) -> None:
        self._free = free_seconds
        """Audio that came long ago: a worker that takes a stream over gets it at once."""
        self.due = float("-inf")
        """When all audio so far would have come in real time."""

    def feed(self, seconds: float, now: float) -> None:
        """Audio came."""
        free = min(self._free, seconds)
        self._free -= free
        self.due = max(self.due, now - CREDIT_SECONDS) + seconds - free

    def ahead(self, now: float) -> bool:
        """Whether what comes next is surplus."""
        return self.due > now
