"""What a recorder says: each change once, never each poll."""

import time
from collections.abc import Callable

from dashboard.poller import Fleet
from whisper_ops.formatting import counted
from whisper_ops.snapshot import Snapshot

Say = Callable[[str], None]


class Narrator:
    """Says when a server fell silent and why, when it is back, and what was odd about its answers."""

    def __init__(self, fleet: Fleet, say: Say) -> None:
        self._fleet = fleet
        self._say = say
        self._silent: dict[str, tuple[str, float, int]] = {}
        self._live: set[str] = set()
        self.polls_total = 0
        self.failures_total = 0

    @property
    def live(self) -> int:
        """How many servers answered their last poll."""
        return len(self._live)

    def remarks(self, server: str) -> list[str]:
        """What was odd about its answers and was not said yet; said now."""
        poller = self._fleet.pollers.get(server)
        new = poller.source.remarks.take_new() if poller else []
        for remark in new:
            self._say(remark)
        return new

    def feed(self, snapshot: Snapshot) -> None:
        """Take a poll."""
        self.polls_total += 1
        if snapshot.state == "live":
            self._answered(snapshot)
        else:
            self._failed(snapshot)

    def _answered(self, snapshot: Snapshot) -> None:
        name = snapshot.server
        self._live.add(name)
        if name in self._silent:
            _, since, polls = self._silent.pop(name)
            seconds = time.monotonic() - since
            self._say(f"{name} answers again after {seconds:.0f} s; {counted(polls, 'poll')} failed")

    def _failed(self, snapshot: Snapshot) -> None:
        self.failures_total += 1
        name, sentence = snapshot.server, snapshot.error or "no answer"
        self._live.discard(name)
        known = self._silent.get(name)
        since, polls = (known[1], known[2] + 1) if known else (time.monotonic(), 1)
        if known is None or known[0] != sentence:
            self._say(sentence if name in sentence else f"{name}: {sentence}")
        self._silent[name] = (sentence, since, polls)

    def summary(self, began: float) -> str:
        """All of it in one line, since `began` (monotonic seconds)."""
        seconds = time.monotonic() - began
        failed = f", {self.failures_total} of them failed" if self.failures_total else ""
        return f"{counted(self.polls_total, 'poll')}{failed}, in {seconds:.0f} s"
