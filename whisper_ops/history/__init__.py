"""`history.db`, the only place where the rooms meet: polls, measurements, plans and events in one SQLite file."""

from whisper_ops.history.charts import ChartQuery, Point
from whisper_ops.history.records import (
    AlertRecord,
    EventRecord,
    LevelFigures,
    LevelRecord,
    PlanRecord,
    ReachedRecord,
    StreamRecord,
    SweepRecord,
    UtteranceRecord,
    WordLatencyRecord,
)
from whisper_ops.history.retention import Retention
from whisper_ops.history.store import History
from whisper_ops.history.sweeps import Stored

__all__ = [
    "AlertRecord",
    "ChartQuery",
    "EventRecord",
    "History",
    "LevelFigures",
    "LevelRecord",
    "PlanRecord",
    "Point",
    "ReachedRecord",
    "Retention",
    "Stored",
    "StreamRecord",
    "SweepRecord",
    "UtteranceRecord",
    "WordLatencyRecord",
]
