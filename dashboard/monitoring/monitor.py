"""What becomes of each poll, whichever command polls: rows of the history, events and alerts. Imports no textual."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from dashboard.alerts import AlertBook, AlertChange, AlertRule
from dashboard.history.history_notes import HistoryNotes
from dashboard.history.history_writer import HistoryWriter
from dashboard.monitoring.change_events import ChangeEvents, left
from dashboard.polling.poller import Pollers
from whisper_ops.formatting import counted
from whisper_ops.history import AlertRecord, EventRecord, ReachedRecord
from whisper_ops.snapshot import Snapshot

KEEP_ALERTS_SECONDS = 60.0
"""How often the rows of alerts that last are brought up to date: their least, mean and greatest value grow."""


class PollChanges(msgspec.Struct, frozen=True):
    """What a poll proved, or the end of a server; in the order in which it happened."""

    events: tuple[EventRecord, ...] = ()
    changes: tuple[AlertChange, ...] = ()


class Monitor:
    """Takes the polls of a fleet, writes what they say and what they prove, and knows which alerts are on.

    A screen and a log are two faces of it: each shows the news, and neither writes. So a history does not depend on the
    command that recorded it. Nothing here blocks but the beginning, which reads the alerts that were left standing.
    """

    def __init__(
        self,
        fleet: Pollers,
        writer: HistoryWriter | None = None,
        history: Path | None = None,
        rules: Iterable[AlertRule] = (),
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` measures how long things last, as `AlertBook` has it; without one the polls' own time does."""
        self.fleet = fleet
        self.writer = writer
        self.rules = tuple(rules)
        self.book = AlertBook(self.rules, clock)
        self.polls_total = 0
        self.failures_total = 0
        self._happenings = ChangeEvents(clock)
        self._clock = clock
        self._elapsed = clock or time.monotonic
        self._began = self._elapsed()
        self._kept_at: float | None = None
        self._writing = False
        self._reached: set[str] = set()
        """Servers whose address this writer has."""
        self._untold: list[EventRecord] = []
        """What was written since the last news and belongs to the next."""
        if history is not None:
            self._resume(history)
        self._note_writing()

    def take(self, snapshot: Snapshot) -> PollChanges:
        """Take a poll of the fleet."""
        self.polls_total += 1
        self.failures_total += snapshot.state == "silent"
        self._note_writing()
        events, changes = self._happenings.take(snapshot), self.book.take(snapshot)
        # What was odd about an answer is said once, like everything that happened.
        poller = self.fleet.pollers.get(snapshot.server)
        for remark in poller.source.remarks.take_new() if poller else ():
            events.append(EventRecord(at=snapshot.at, server=snapshot.server, kind="remark", detail=remark))
        self._put(snapshot)
        self._put_address(snapshot.server)
        written = self._write(PollChanges(tuple(events), tuple(changes)))
        news = msgspec.structs.replace(written, events=(*self._untold, *written.events))
        self._untold.clear()
        now = snapshot.at if self._clock is None else self._clock()
        if self._kept_at is None or now >= self._kept_at + KEEP_ALERTS_SECONDS:
            self._kept_at = now
            self.keep_alerts()
        return news

    def forget(self, server: str) -> PollChanges:
        """A server is polled no more: its alerts end with its last poll."""
        ended = tuple(AlertChange("ended", alert) for alert in self.book.forget(server))
        return self._write(PollChanges((left(server, time.time()),), ended))

    def keep_alerts(self) -> None:
        """Bring the rows of alerts that last up to date."""
        for alert in self.book.active:
            self._put(alert.record())

    def note(self, kind: str, detail: str, server: str | None = None) -> EventRecord:
        """Keep that something happened which no poll shows."""
        event = EventRecord(at=time.time(), kind=kind, detail=detail, server=server)
        self._put(event)
        return event

    def end(self) -> None:
        """Write what only the end knows; the writer is closed by its owner."""
        self.keep_alerts()
        if self._writing:
            self.note("recorder_stopped", self.summary())
            self._writing = False

    def summary(self) -> str:
        """The polls since the beginning in one line."""
        failed = f", {self.failures_total} of them failed" if self.failures_total else ""
        return f"{counted(self.polls_total, 'poll')}{failed}, in {self._elapsed() - self._began:.0f} s"

    def _resume(self, history: Path) -> None:
        """Alerts that stood when the last one ended, and still stand, keep the time at which they began."""
        memory = HistoryNotes(history)
        self.book.resume(memory.left_standing(time.time()))
        memory.close()

    def _note_writing(self) -> None:
        """Say in the history when this process begins to write it, which may be long after it began to poll."""
        writing = self.writer is not None and self.writer.writing
        if writing and not self._writing:
            self._untold.append(self.note("recorder_started", f"each {self.fleet.interval:g} s"))
            self._reached.clear()
        self._writing = writing

    def _write(self, news: PollChanges) -> PollChanges:
        for event in news.events:
            self._put(event)
        for change in news.changes:
            self._put(change.alert.record())
        return news

    def _put_address(self, server: str) -> None:
        """After its first poll: how it is reached, for who watches next without naming it."""
        if self._writing and server not in self._reached:
            self._reached.add(server)
            self._put(ReachedRecord(server=server, reached_by=self.fleet.reached_by(server)))

    def _put(self, item: Snapshot | EventRecord | AlertRecord | ReachedRecord) -> None:
        if self.writer is not None:
            self.writer.put(item)
