"""The history as the rooms use it: what was polled, measured and planned, in and out of one SQLite file."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from whisper_ops.history import charts, replay, rollup
from whisper_ops.history import retention as retention_of
from whisper_ops.history.charts import ChartQuery, Point
from whisper_ops.history.files import open_for_reading, open_for_writing
from whisper_ops.history.records import (
    AlertRecord,
    EventRecord,
    LevelRecord,
    PlanRecord,
    RanRecord,
    Record,
    StreamRecord,
    SweepRecord,
    SweepState,
    UtteranceRecord,
    WordLatencyRecord,
)
from whisper_ops.history.retention import Retention
from whisper_ops.history.samples import SampleWriter
from whisper_ops.snapshot import Snapshot

R = TypeVar("R", bound=msgspec.Struct)


class Stored(msgspec.Struct, frozen=True):
    """A sweep with the id it has in the file."""

    id: int
    sweep: SweepRecord


class History:
    """An open history. Every method is one transaction; use it from one thread at a time, never from an event loop."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self.path = path
        self._connection = db
        self._samples = SampleWriter(self._connection)

    @classmethod
    def writing(cls, path: Path) -> Self:
        """Open `path` for writing, made when it is missing; UserError when it cannot be."""
        return cls(open_for_writing(path), path)

    @classmethod
    def reading(cls, path: Path) -> Self:
        """Open `path` read-only; UserError when there is none or it is not a history."""
        return cls(open_for_reading(path), path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection itself, for this package's own modules."""
        return self._connection

    # --- polls ---------------------------------------------------------------------------------------

    def add_snapshots(self, snapshots: Iterable[Snapshot]) -> None:
        """Store polls of any number of servers in one transaction. A row of the same server and time is replaced."""
        self.add(snapshots)

    def add(
        self,
        snapshots: Iterable[Snapshot] = (),
        events: Iterable[EventRecord] = (),
        alerts: Iterable[AlertRecord] = (),
    ) -> None:
        """Store what pollers and alerts have to say in one transaction; an alert known by its start is brought up."""
        with self._transaction():
            self._samples.add(snapshots)
            for event in events:
                self._insert_row("event", event)
            for alert in alerts:
                self._insert_row("alert", alert)

    def servers(self) -> list[str]:
        """The names of all servers ever polled."""
        return [row[0] for row in self._db.execute("SELECT name FROM server ORDER BY name")]

    def snapshots(self, server: str, since: float, until: float) -> Iterator[Snapshot]:
        """Polls of one server with `since <= at < until`, oldest first, as they were stored."""
        return replay.snapshots(self._connection, server, since, until)

    def roll_up(self, now: float, limit: int = 1_000_000) -> int:
        """Roll up at most `limit` minutes and hours that were over by `now`; returns how many there were."""
        with self._transaction():
            return rollup.roll_up(self._connection, now, limit)

    def chart(self, query: ChartQuery, since: float, until: float, step: float) -> list[Point]:
        """One metric over time in steps of `step` seconds, from the coarsest tier that is fine enough."""
        return charts.chart(self._connection, query, since, until, step)

    def prune(self, now: float, retention: Retention) -> int:
        """Delete what `retention` keeps no longer, a server a transaction; returns how many rows went.

        When space is short, the oldest hour of the finest tier goes too; called again, the next.
        """
        servers = [row["id"] for row in self.rows("SELECT id FROM server ORDER BY id")]
        deleted = 0
        for server_id in servers:
            with self._transaction():
                deleted += retention_of.prune_server(self._connection, server_id, now, retention)
        short = retention_of.scarce(self._connection, now, retention)
        for server_id in servers if short else ():
            assert short is not None
            with self._transaction():
                deleted += retention_of.make_room(self._connection, server_id, *short)
        return deleted

    # --- measurements --------------------------------------------------------------------------------

    def start_sweep(self, sweep: SweepRecord) -> int:
        """Store a sweep that begins; returns its id."""
        return self._insert("sweep", sweep)

    def resume_sweep(self, sweep_id: int, settings: str) -> None:
        """Say that an interrupted sweep goes on, with the settings of the process that goes on with it."""
        with self._transaction():
            self._db.execute(
                "UPDATE sweep SET state = 'running', finished_at = NULL, reason = NULL, settings = ? WHERE id = ?",
                [settings, sweep_id],
            )

    def set_sweep_settings(self, sweep_id: int, settings: str) -> None:
        """Replace the settings of a sweep that runs: some of them show only on the way."""
        with self._transaction():
            self._db.execute("UPDATE sweep SET settings = ? WHERE id = ?", [settings, sweep_id])

    def finish_sweep(self, sweep_id: int, state: SweepState, finished_at: float, reason: str | None = None) -> None:
        """Say how a sweep ended."""
        with self._transaction():
            self._db.execute(
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
        with self._transaction():
            level_id = self._insert_row("level", level)
            parts = (("stream", streams), ("utterance", utterances), ("word_latency", latencies))
            for table, rows in parts:
                for row in rows:
                    self._insert_row(table, msgspec.structs.replace(row, level_id=level_id))
        return level_id

    def streams(self, sweep_id: int, streams: int, repeat: int) -> list[StreamRecord]:
        """The streams of one level of a sweep, by their numbers."""
        return [_struct(row, StreamRecord) for row in self._of_level("stream", sweep_id, streams, repeat)]

    def utterances(self, sweep_id: int, streams: int, repeat: int) -> list[UtteranceRecord]:
        """The utterances of one level of a sweep; none where an older version measured it."""
        return [_struct(row, UtteranceRecord) for row in self._of_level("utterance", sweep_id, streams, repeat)]

    def word_latencies(self, sweep_id: int, streams: int, repeat: int) -> list[WordLatencyRecord]:
        """The words of one level of a sweep by latency bucket; none where an older version measured it."""
        return [_struct(row, WordLatencyRecord) for row in self._of_level("word_latency", sweep_id, streams, repeat)]

    def _of_level(self, table: str, sweep_id: int, streams: int, repeat: int) -> list[dict[str, Any]]:
        sql = f"SELECT part.* FROM {table} part JOIN level ON level.id = part.level_id WHERE "  # our names
        sql += "level.sweep_id = ? AND level.streams = ? AND level.repeat = ?"
        return list(self.rows(sql, [sweep_id, streams, repeat]))

    def sweeps(self) -> list[Stored]:
        """All sweeps, oldest first."""
        return [Stored(row["id"], _struct(row, SweepRecord)) for row in self.rows("SELECT * FROM sweep ORDER BY id")]

    def levels(self, sweep_id: int) -> list[LevelRecord]:
        """The levels of a sweep in the order they were run."""
        return [
            _struct(row, LevelRecord)
            for row in self.rows("SELECT * FROM level WHERE sweep_id = ? ORDER BY id", [sweep_id])
        ]

    # --- plans and events ----------------------------------------------------------------------------

    def add_plan(self, plan: PlanRecord) -> int:
        """Store a plan; returns its id."""
        return self._insert("plan", plan)

    def plans(self) -> list[PlanRecord]:
        """All plans, oldest first."""
        return [_struct(row, PlanRecord) for row in self.rows("SELECT * FROM plan ORDER BY created_at, id")]

    def events(self, since: float, until: float) -> list[EventRecord]:
        """What happened in `since <= at < until`, oldest first."""
        found = self.rows("SELECT * FROM event WHERE at >= ? AND at < ? ORDER BY at, id", [since, until])
        return [_struct(row, EventRecord) for row in found]

    def alerts(self, since: float, until: float) -> list[AlertRecord]:
        """Alerts that lasted at any moment in `since <= at < until`, in the order of their start."""
        found = self.rows(
            "SELECT * FROM alert WHERE started_at < ? AND coalesce(ended_at, ?) >= ? ORDER BY started_at, id",
            [until, until, since],
        )
        return [_struct(row, AlertRecord) for row in found]

    def end_alerts(self) -> None:
        """End the alerts that a writer left open when it ended, at the last poll of their server."""
        with self._transaction():
            self._db.execute(
                "UPDATE alert SET ended_at = max(started_at, coalesce("
                "(SELECT last_seen_at FROM server WHERE name = alert.server), started_at)) WHERE ended_at IS NULL"
            )

    # --- plumbing ------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE takes the write lock at once, so that two writers queue up instead of failing half-way.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite ends the transaction itself on some errors, a full disk among them.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._samples.forget()
            raise

    def rows(self, sql: str, arguments: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
        """Whatever a SELECT of the caller's own finds, a dict a row, read as they are taken."""
        cursor = self._db.execute(sql, list(arguments))
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def _insert(self, table: str, record: Record | RanRecord) -> int:
        with self._transaction():
            return self._insert_row(table, record)

    def _insert_row(self, table: str, record: Record | RanRecord) -> int:
        row = msgspec.structs.asdict(record)
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        cursor = self._db.execute(
            f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", list(row.values())
        )  # names of our own
        return int(cursor.lastrowid or 0)


def _struct(row: dict[str, Any], kind: type[R]) -> R:
    """Make a struct of a row; columns it does not have are keys, and SQLite's 0 and 1 are its booleans."""
    wanted = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return msgspec.convert({name: row[name] for name in wanted if name in row}, kind, strict=False)
