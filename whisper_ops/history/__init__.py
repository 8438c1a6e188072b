"""`history.db`, the only place where the rooms meet: polls, measurements, plans and events in one SQLite file.

The records are imported at once, what opens a file when it is first named: a screen of one poll needs no SQLite.
"""

import importlib
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from whisper_ops.history.charts import ChartQuery, Point
    from whisper_ops.history.store import History
    from whisper_ops.history.sweeps import StoredSweep

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
    "StoredSweep",
    "StreamRecord",
    "SweepRecord",
    "UtteranceRecord",
    "WordLatencyRecord",
]
_MODULES = {"ChartQuery": "charts", "Point": "charts", "History": "store", "StoredSweep": "sweeps"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
