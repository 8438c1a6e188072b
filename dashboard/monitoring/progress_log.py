"""What a recorder says: each change once, never each poll."""

import time
from collections.abc import Callable

from dashboard.alerts.messages import ended
from dashboard.monitoring.monitor import PollChanges
from whisper_ops.formatting import counted
from whisper_ops.snapshot import Snapshot

Say = Callable[[str], None]


class ProgressLog:
    """Says when a server fell silent and why, when it is back, and what was odd about its answers."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._silent: dict[str, tuple[str, float, int]] = {}
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

    def tell(self, news: PollChanges) -> None:
        """Say the remarks and the alerts among the news; silences and answers are said by `feed`, with more."""
        for event in news.events:
            if event.kind == "remark":
                self._say(event.detail)
        for change in news.changes:
            words = change.alert.sentence if change.alert.until is None else ended(change.alert.record())
            self._say(f"alert {change.kind}: {words}")

    def _answered(self, snapshot: Snapshot) -> None:
        name = snapshot.server
        self._live.add(name)
        if name in self._silent:
            _, since, polls = self._silent.pop(name)
            seconds = time.monotonic() - since
            self._say(f"{name} answers again after {seconds:.0f} s; {counted(polls, 'poll')} failed")

    def _failed(self, snapshot: Snapshot) -> None:
        name, sentence = snapshot.server, snapshot.error or "no answer"
        self._live.discard(name)
        known = self._silent.get(name)
        since, polls = (known[1], known[2] + 1) if known else (time.monotonic(), 1)
        if known is None or known[0] != sentence:
            self._say(sentence if name in sentence else f"{name}: {sentence}")
        self._silent[name] = (sentence, since, polls)
