"""What `record` prints: each change once, never each poll."""

import time
from collections.abc import Callable
from typing import NamedTuple

from dashboard.alerts.messages import end_text
from dashboard.monitoring.monitor import PollChanges
from whisper_ops.formatting import counted
from whisper_ops.snapshot import Snapshot

Say = Callable[[str], None]


class _Silence(NamedTuple):
    error: str
    since: float
    """By `time.monotonic`."""
    polls: int


class ProgressLog:
    """Prints when a server falls silent and why, when it answers again, remarks on its answers, and alerts."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._silences: dict[str, _Silence] = {}
        self._live: set[str] = set()

    @property
    def live(self) -> int:
        """How many servers answered their last poll."""
        return len(self._live)

    def take(self, snapshot: Snapshot) -> None:
        """Take a poll."""
        if snapshot.state == "live":
            self._answered(snapshot)
        else:
            self._failed(snapshot)

    def log_changes(self, changes: PollChanges) -> None:
        """Print remarks and alerts; of silences and answers `take` prints more than their events say."""
        for event in changes.events:
            if event.kind == "remark":
                self._say(event.detail)
        for change in changes.alerts:
            words = change.alert.sentence if change.alert.until is None else end_text(change.alert.record())
            self._say(f"alert {change.kind}: {words}")

    def _answered(self, snapshot: Snapshot) -> None:
        name = snapshot.server
        self._live.add(name)
        silence = self._silences.pop(name, None)
        if silence is not None:
            seconds = time.monotonic() - silence.since
            self._say(f"{name} answers again after {seconds:.0f} s; {counted(silence.polls, 'poll')} failed")

    def _failed(self, snapshot: Snapshot) -> None:
        name, error = snapshot.server, snapshot.error or "no answer"
        self._live.discard(name)
        before = self._silences.get(name)
        if before is None or before.error != error:
            self._say(error if name in error else f"{name}: {error}")
        since, polls = (time.monotonic(), 0) if before is None else (before.since, before.polls)
        self._silences[name] = _Silence(error, since, polls + 1)
