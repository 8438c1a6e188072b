"""What was measured: sweeps, their levels, and the streams, utterances and words of a level."""

from collections.abc import Sequence
from typing import Any

import msgspec

from whisper_ops.history.database import Database, struct_of
from whisper_ops.history.records import (
    LevelRecord,
    StreamRecord,
    SweepRecord,
    SweepState,
    UtteranceRecord,
    WordLatencyRecord,
)


class StoredSweep(msgspec.Struct, frozen=True):
    """A sweep with the id it has in the file."""

    id: int
    sweep: SweepRecord


class Sweeps:
    """The sweeps of a history. Every method that writes is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def start(self, sweep: SweepRecord) -> int:
        """Store a sweep that begins; returns its id."""
        return self._db.add("sweep", sweep)

    def resume(self, sweep_id: int, settings: str) -> None:
        """Say that an interrupted sweep goes on, with the settings of the process that goes on with it."""
        self._db.write(
            "UPDATE sweep SET state = 'running', finished_at = NULL, reason = NULL, settings = ? WHERE id = ?",
            [settings, sweep_id],
        )

    def set_settings(self, sweep_id: int, settings: str) -> None:
        """Replace the settings of a sweep that runs: some of them show only on the way."""
        self._db.write("UPDATE sweep SET settings = ? WHERE id = ?", [settings, sweep_id])

    def finish(self, sweep_id: int, state: SweepState, finished_at: float, reason: str | None = None) -> None:
        """Say how a sweep ended."""
        self._db.write(
            "UPDATE sweep SET state = ?, finished_at = ?, reason = ? WHERE id = ?",
            [state, finished_at, reason, sweep_id],
        )

    def add_level(
        self,
        level: LevelRecord,
        streams: Sequence[StreamRecord] = (),
        utterances: Sequence[UtteranceRecord] = (),
        latencies: Sequence[WordLatencyRecord] = (),
    ) -> int:
        """Store a level with all that belongs to it as soon as it ended; `level_id` is filled in here."""
        with self._db.transaction():
            level_id = self._db.insert("level", level)
            parts = (("stream", streams), ("utterance", utterances), ("word_latency", latencies))
            for table, rows in parts:
                for row in rows:
                    self._db.insert(table, msgspec.structs.replace(row, level_id=level_id))
        return level_id

    def every(self) -> list[StoredSweep]:
        """All sweeps, oldest first."""
        return [
            StoredSweep(row["id"], struct_of(row, SweepRecord))
            for row in self._db.rows("SELECT * FROM sweep ORDER BY id")
        ]

    def levels(self, sweep_id: int) -> list[LevelRecord]:
        """The levels of a sweep in the order they were run."""
        return [
            struct_of(row, LevelRecord)
            for row in self._db.rows("SELECT * FROM level WHERE sweep_id = ? ORDER BY id", [sweep_id])
        ]

    def streams(self, sweep_id: int, streams: int, repeat: int) -> list[StreamRecord]:
        """The streams of one level of a sweep, by their numbers."""
        return [struct_of(row, StreamRecord) for row in self._of_level("stream", sweep_id, streams, repeat)]

    def utterances(self, sweep_id: int, streams: int, repeat: int) -> list[UtteranceRecord]:
        """The utterances of one level of a sweep; none where an older version measured it."""
        return [struct_of(row, UtteranceRecord) for row in self._of_level("utterance", sweep_id, streams, repeat)]

    def word_latencies(self, sweep_id: int, streams: int, repeat: int) -> list[WordLatencyRecord]:
        """The words of one level of a sweep by latency bucket; none where an older version measured it."""
        return [struct_of(row, WordLatencyRecord) for row in self._of_level("word_latency", sweep_id, streams, repeat)]

    def _of_level(self, table: str, sweep_id: int, streams: int, repeat: int) -> list[dict[str, Any]]:
        sql = f"SELECT part.* FROM {table} part JOIN level ON level.id = part.level_id WHERE "  # our names
        sql += "level.sweep_id = ? AND level.streams = ? AND level.repeat = ?"
        return list(self._db.rows(sql, [sweep_id, streams, repeat]))
