"""Paces audio that comes faster than real time: what is ahead of real time waits."""

CREDIT_SECONDS = 2.0
"""Audio that may be ahead: networks deliver in bursts, and clients begin with buffered audio."""


class RealTimePace:
    """Of one stream. Times are seconds of the worker's clock."""

    __slots__ = ("_free", "due")

    def __init__(self, free_seconds: float = 0.0) -> None:
        self._free = free_seconds
        """Audio exempt from pacing: a worker that takes over a stream gets its past at once."""
        self.due = float("-inf")
        """When all audio so far would have come in real time."""

    def feed(self, seconds: float, now: float) -> None:
        """Count received audio."""
        free = min(self._free, seconds)
        self._free -= free
        self.due = max(self.due, now - CREDIT_SECONDS) + seconds - free

    def ahead(self, now: float) -> bool:
        """Whether the next audio must wait."""
        return self.due > now
