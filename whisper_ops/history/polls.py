"""What was polled, and what the polls proved: samples of servers in tiers, events and alerts."""

from collections.abc import Iterable, Iterator

from whisper_ops.history import charts, pruning, replay, rollup
from whisper_ops.history.charts import ChartQuery, Point
from whisper_ops.history.database import Database, struct_of
from whisper_ops.history.records import AlertRecord, EventRecord, ReachedRecord
from whisper_ops.history.retention import Retention
from whisper_ops.history.samples import SampleWriter
from whisper_ops.snapshot import Snapshot


class Polls:
    """The polls of a history, its events and its alerts. Every method that writes is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._samples = SampleWriter(database.connection)
        database.on_rollback(self._samples.forget)

    def add(
        self,
        snapshots: Iterable[Snapshot] = (),
        events: Iterable[EventRecord] = (),
        alerts: Iterable[AlertRecord] = (),
        reached: Iterable[ReachedRecord] = (),
    ) -> None:
        """Store what pollers and alerts have to say in one transaction.

        A poll of the same server and time is replaced; an alert known by its start is brought up to date. How a server
        is reached is kept of those that were polled.
        """
        with self._db.transaction():
            self._samples.add(snapshots)
            for event in events:
                self._db.insert("event", event)
            for alert in alerts:
                self._db.insert("alert", alert)
            self._db.connection.executemany(
                "UPDATE server SET reached_by = ? WHERE name = ?", [(one.reached_by, one.server) for one in reached]
            )

    def servers(self) -> list[str]:
        """The names of all servers ever polled."""
        return [row["name"] for row in self._db.rows("SELECT name FROM server ORDER BY name")]

    def watched(self, since: float) -> list[ReachedRecord]:
        """The servers that were polled after a moment, in the order in which they were first seen."""
        rows = self._db.rows(
            "SELECT name, reached_by FROM server WHERE last_seen_at > ? ORDER BY first_seen_at, name", [since]
        )
        return [ReachedRecord(server=row["name"], reached_by=row["reached_by"]) for row in rows]

    def between(self, server: str, since: float, until: float) -> Iterator[Snapshot]:
        """Polls of one server with `since <= at < until`, oldest first, as they were stored."""
        return replay.snapshots(self._db.connection, server, since, until)

    def chart(self, query: ChartQuery, since: float, until: float, step: float) -> list[Point]:
        """One metric over time in steps of `step` seconds, from the coarsest tier that is fine enough."""
        return charts.chart(self._db.connection, query, since, until, step)

    def events(self, since: float, until: float) -> list[EventRecord]:
        """What happened in `since <= at < until`, oldest first."""
        found = self._db.rows("SELECT * FROM event WHERE at >= ? AND at < ? ORDER BY at, id", [since, until])
        return [struct_of(row, EventRecord) for row in found]

    def alerts(self, since: float, until: float) -> list[AlertRecord]:
        """Alerts that lasted at any moment in `since <= at < until`, in the order of their start."""
        found = self._db.rows(
            "SELECT * FROM alert WHERE started_at < ? AND coalesce(ended_at, ?) >= ? ORDER BY started_at, id",
            [until, until, since],
        )
        return [struct_of(row, AlertRecord) for row in found]

    def end_alerts(self) -> None:
        """End the alerts that a writer left open when it ended, at the last poll of their server."""
        self._db.write(
            "UPDATE alert SET ended_at = max(started_at, coalesce("
            "(SELECT last_seen_at FROM server WHERE name = alert.server), started_at)) WHERE ended_at IS NULL"
        )

    def roll_up(self, now: float, limit: int = 1_000_000) -> int:
        """Roll up at most `limit` minutes and hours that were over by `now`; returns how many there were."""
        with self._db.transaction():
            return rollup.roll_up(self._db.connection, now, limit)

    def prune(self, now: float, retention: Retention) -> int:
        """Delete what `retention` keeps no longer, a server a transaction; returns how many rows went.

        When space is short, the oldest hour of the finest tier goes too; called again, the next.
        """
        servers = [row["id"] for row in self._db.rows("SELECT id FROM server ORDER BY id")]
        connection, deleted = self._db.connection, 0
        for server_id in servers:
            with self._db.transaction():
                deleted += pruning.prune_server(connection, server_id, now, retention)
        short = pruning.scarce(connection, now, retention)
        for server_id in servers if short else ():
            assert short is not None
            with self._db.transaction():
                deleted += pruning.make_room(connection, server_id, *short)
        return deleted
