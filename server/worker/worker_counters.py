"""What a worker counts between two heartbeats."""

from collections.abc import Sequence

from server import ipc
from server.audio_formats import SAMPLE_RATE


class WorkerCounters:
    """Counts since the last heartbeat. Busy time is the union of the lanes' decodes, not their sum."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._busy_until = 0.0
        self._reset()

    def _reset(self) -> None:
        self._busy = self._audio = 0.0
        self._batches = self._rows = self._partials = 0
        self.failed_rows = self.withheld = 0
        self._waits: list[float] = []
        self._computes: list[float] = []

    def waited(self, seconds: Sequence[float]) -> None:
        """Rows were dispatched so many seconds after they were due."""
        self._waits.extend(max(0.0, s) for s in seconds)

    def decoded(self, rows: int, samples: int, began: float, ended: float) -> None:
        """A batch was decoded."""
        self._busy += max(0.0, ended - max(began, self._busy_until))
        self._busy_until = max(self._busy_until, ended)
        self._batches += 1
        self._rows += rows
        self._audio += samples / SAMPLE_RATE
        self._computes.append(ended - began)

    def sent(self, event: ipc.Message) -> None:
        """A text was sent."""
        self._partials += isinstance(event, ipc.Partial)

    def beat(
        self, now: float, decoding_s: float, speaking: int, memory: float | None, reserved: float | None
    ) -> ipc.Heartbeat:
        """The heartbeat; resets the counts."""
        span = now - self._since if self._since is not None else 0.0
        beat = ipc.Heartbeat(
            decoding_s,
            min(self._busy, span),
            span,
            self._batches,
            self._rows,
            self._audio,
            self._partials,
            speaking,
            self._waits,
            self._computes,
            memory,
            self.failed_rows,
            reserved,
            self.withheld,
        )
        self._since = now
        self._reset()
        return beat
