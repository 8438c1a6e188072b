"""Rows that the history cannot hold, such as a number too large or a text that is no Unicode: counted, said once."""

import sqlite3
import time

from whisper_ops.history import AlertRecord, EventRecord, ReachedRecord
from whisper_ops.snapshot import Snapshot

Item = Snapshot | EventRecord | AlertRecord | ReachedRecord

ROW_FAULTS = (
    *(OverflowError, ValueError, TypeError),
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
)
"""What is raised for one row where the file takes every other."""
_NAMES: dict[type[Item], str] = {
    Snapshot: "a poll",
    EventRecord: "an event",
    AlertRecord: "an alert",
    ReachedRecord: "the address",
}
_MOST_REASONS = 100
"""So many are said; a server may send a new one at every poll."""
_TEXT_LENGTH = 300


class UnstorableRows:
    """Counts the rows that are set aside, and makes an event of each new reason."""

    def __init__(self) -> None:
        self.total = 0
        self.events: list[EventRecord] = []
        """Those to be written."""
        self._reasons: set[tuple[str, str]] = set()

    def set_aside(self, item: Item, error: Exception) -> str | None:
        """Count a row; the sentence to say of it, None where its like was said before."""
        self.total += 1
        reason = (_storable(item.server or ""), _storable(f"{type(error).__name__}: {error}"))
        if reason in self._reasons or len(self._reasons) >= _MOST_REASONS:
            return None
        self._reasons.add(reason)
        server, why = reason
        sentence = f"{_NAMES[type(item)]} of {server} cannot be stored ({why}) and is set aside; others like it too"
        self.events.append(EventRecord(at=time.time(), server=server, kind="set_aside", detail=sentence))
        return sentence


def _storable(text: str) -> str:
    return text[:_TEXT_LENGTH].encode("utf-8", "backslashreplace").decode()
