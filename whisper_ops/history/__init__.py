"""`history.db`, the only place where the rooms meet: polls, measurements, plans and events in one SQLite file."""

from whisper_ops.history.records import EventRecord, LevelRecord, PlanRecord, StreamRecord, SweepRecord
from whisper_ops.history.store import History, Stored

__all__ = ["EventRecord", "History", "LevelRecord", "PlanRecord", "Stored", "StreamRecord", "SweepRecord"]
