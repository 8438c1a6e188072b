"""A worker's heartbeats, made into the figures of `/gpu-status`: over the last minute, or since the start."""

from collections import deque

from server import ipc
from server.sessions.counters import Rolling

_BEATS = 10
"""Rates are over the last ten heartbeats: steady to read, and quick enough to follow."""


class EngineStats:
    """What one device's engine did."""

    def __init__(self) -> None:
        self.waits, self.computes, self.lags = Rolling(), Rolling(), Rolling()
        self.batches = self.rows = self.partials = self.failed_rows = self.withheld = 0
        self.busy_s = self.audio_s = 0.0
        self.speaking: int | None = None
        self.memory_bytes: float | None = None
        self.reserved_bytes: float | None = None
        self._beats: deque[ipc.Heartbeat] = deque(maxlen=_BEATS)

    def add(self, beat: ipc.Heartbeat) -> None:
        """Take a heartbeat."""
        self._beats.append(beat)
        self.waits.observe(beat.waits)
        self.computes.observe(beat.computes)
        self.batches += beat.batches
        self.rows += beat.rows
        self.partials += beat.partials
        self.failed_rows += beat.failed_rows
        self.withheld += beat.withheld
        self.busy_s += beat.busy_s
        self.audio_s += beat.audio_s
        self.speaking, self.memory_bytes = beat.speaking, beat.memory_bytes
        self.reserved_bytes = beat.reserved_bytes

    def turn(self, lags: list[float]) -> None:
        """A second has passed; these are the lags of the device's streams."""
        for rolling in (self.waits, self.computes, self.lags):
            rolling.turn()
        self.lags.observe(lags)

    def forget(self) -> None:
        """The worker died: current readings are unknown. Totals stay."""
        self._beats.clear()
        self.speaking = self.memory_bytes = self.reserved_bytes = None

    def _per_second(self, amount: float) -> float | None:
        span = sum(beat.span_s for beat in self._beats)
        return amount / span if span else None

    @property
    def busy_ratio(self) -> float | None:
        """The share of time in which a batch was in work, 0 to 1."""
        return self._per_second(sum(beat.busy_s for beat in self._beats))

    @property
    def audio_seconds_per_second(self) -> float | None:
        """Seconds of audio decoded a second; audio decoded twice counts twice."""
        return self._per_second(sum(beat.audio_s for beat in self._beats))

    @property
    def batch_fill_mean(self) -> float | None:
        """Rows a batch; None when there was none."""
        batches = sum(beat.batches for beat in self._beats)
        return sum(beat.rows for beat in self._beats) / batches if batches else None

    @property
    def partial_interval_s(self) -> float | None:
        """Seconds between two partials of a speaking stream, on average; None when there were none."""
        partials = sum(beat.partials for beat in self._beats)
        speaking_s = sum(beat.speaking * beat.span_s for beat in self._beats)
        return speaking_s / partials if partials else None
