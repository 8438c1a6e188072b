"""What becomes of each poll, whichever command polls: rows of the history, events and alerts. Imports no textual."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from dashboard.alerts import AlertBook, AlertChange, AlertRule
from dashboard.history.history_notes import HistoryNotes
from dashboard.history.history_writer import HistoryWriter
from dashboard.monitoring.change_events import ChangeEvents, gone_event
from dashboard.polling.poller import Pollers
from whisper_ops.formatting import counted
from whisper_ops.history import AlertRecord, EventRecord, ReachedRecord
from whisper_ops.snapshot import Snapshot

UPDATE_ALERTS_SECONDS = 60.0
"""How often the rows of alerts that last get their newest least, mean and greatest value."""


class PollChanges(msgspec.Struct, frozen=True):
    """What a poll showed to have changed, or the end of a server; each in the order in which it happened."""

    events: tuple[EventRecord, ...] = ()
    alerts: tuple[AlertChange, ...] = ()


class Monitor:
    """Takes the polls of a fleet, writes them with the events and alerts that they show, and knows which alerts last.

    `dash` shows what it returns and `record` logs it; neither writes by itself, so the history does not depend on which
    of them recorded it. Only `__init__` blocks: it reads the alerts that the last watcher left without an end.
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
        self._change_events = ChangeEvents(clock)
        self._clock = clock
        self._elapsed = clock or time.monotonic
        self._began = self._elapsed()
        self._alerts_updated_at: float | None = None
        self._writing = False
        self._addresses_written: set[str] = set()
        """Servers whose address the file has from this process."""
        self._unreported: list[EventRecord] = []
        """Events that were written already and that the next poll returns."""
        if history is not None:
            self._resume(history)
        self._note_writing()

    def take(self, snapshot: Snapshot) -> PollChanges:
        """Take a poll of the fleet."""
        self.polls_total += 1
        self.failures_total += snapshot.state == "silent"
        self._note_writing()
        events, alerts = self._change_events.take(snapshot), self.book.take(snapshot)
        poller = self.fleet.pollers.get(snapshot.server)
        for remark in poller.source.remarks.take_new() if poller else ():
            events.append(EventRecord(at=snapshot.at, server=snapshot.server, kind="remark", detail=remark))
        self._put(snapshot)
        self._put_address(snapshot.server)
        written = self._write(PollChanges(tuple(events), tuple(alerts)))
        changes = msgspec.structs.replace(written, events=(*self._unreported, *written.events))
        self._unreported.clear()
        now = snapshot.at if self._clock is None else self._clock()
        if self._alerts_updated_at is None or now >= self._alerts_updated_at + UPDATE_ALERTS_SECONDS:
            self._alerts_updated_at = now
            self.update_alerts()
        return changes

    def forget(self, server: str) -> PollChanges:
        """A server is polled no more: its alerts end with its last poll."""
        ended = tuple(AlertChange("ended", alert) for alert in self.book.forget(server))
        return self._write(PollChanges((gone_event(server, time.time()),), ended))

    def update_alerts(self) -> None:
        """Write the newest figures of alerts that last."""
        for alert in self.book.active:
            self._put(alert.record())

    def note(self, kind: str, detail: str, server: str | None = None) -> EventRecord:
        """Write an event that no poll shows."""
        event = EventRecord(at=time.time(), kind=kind, detail=detail, server=server)
        self._put(event)
        return event

    def end(self) -> None:
        """Write the last figures of alerts, and that recording ends; the writer is closed by its owner."""
        self.update_alerts()
        if self._writing:
            self.note("recorder_stopped", self.summary())
            self._writing = False

    def summary(self) -> str:
        """The polls since the beginning in one line."""
        failed = f", {self.failures_total} of them failed" if self.failures_total else ""
        return f"{counted(self.polls_total, 'poll')}{failed}, in {self._elapsed() - self._began:.0f} s"

    def _resume(self, history: Path) -> None:
        """Alerts of the last watcher that still last keep the time at which they began."""
        notes = HistoryNotes(history)
        self.book.resume(notes.unfinished_alerts(time.time()))
        notes.close()

    def _note_writing(self) -> None:
        """Write when this process begins to write, which may be long after it began to poll."""
        writing = self.writer is not None and self.writer.writing
        if writing and not self._writing:
            self._unreported.append(self.note("recorder_started", f"each {self.fleet.interval:g} s"))
            self._addresses_written.clear()
        self._writing = writing

    def _write(self, changes: PollChanges) -> PollChanges:
        for event in changes.events:
            self._put(event)
        for change in changes.alerts:
            self._put(change.alert.record())
        return changes

    def _put_address(self, server: str) -> None:
        """After its first poll: how it is reached, for the next `dash` that names no server."""
        if self._writing and server not in self._addresses_written:
            self._addresses_written.add(server)
            self._put(ReachedRecord(server=server, reached_by=self.fleet.reached_by(server)))

    def _put(self, item: Snapshot | EventRecord | AlertRecord | ReachedRecord) -> None:
        if self.writer is not None:
            self.writer.put(item)
