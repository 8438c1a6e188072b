"""The history as the rooms use it: what was polled, measured and planned, in and out of one SQLite file."""

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from whisper_ops.history.database import Database
from whisper_ops.history.opening import open_for_reading, open_for_writing
from whisper_ops.history.plans import Plans
from whisper_ops.history.polls import Polls
from whisper_ops.history.sweeps import Sweeps


class History:
    """An open history, in three parts over one file. Use it from one thread at a time, never from an event loop."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self.database = Database(connection)
        """The file itself, for this package's own modules."""
        self.polls = Polls(self.database)
        self.sweeps = Sweeps(self.database)
        self.plans = Plans(self.database)

    @classmethod
    def writing(cls, path: Path) -> Self:
        """Open `path` for writing, made when it is missing; UserError when it cannot be."""
        return cls(open_for_writing(path), path)

    @classmethod
    def reading(cls, path: Path) -> Self:
        """Open `path` read-only; UserError when there is none or it is not a history."""
        return cls(open_for_reading(path), path)

    def close(self) -> None:
        self.database.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
