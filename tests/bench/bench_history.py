"""`make bench-history`: what the history costs, against what was promised. Exit code 1 when a promise is broken.

Needs no server and no GPU: the fleet is made up, everything that handles it is real.
"""

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dashboard.alerts import AlertBook, load_rules
from dashboard.history.history_writer import HistoryWriter
from dashboard.monitoring.change_events import ChangeEvents
from dashboard.polling.poller import Pollers
from tests.bench import fleet
from tests.bench.figure import Figure
from whisper_ops.history import ChartQuery, History
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.snapshot_source import WhisperOpsSource

DAY = 86_400
HOUR = 3600.0
ROWS_A_POLL = 1 + fleet.GPUS + 1
CPU_SECONDS = 30


def written(folder: Path, interval: float, ticks: int) -> Iterator[Figure]:
    """Bytes a day and rows a second for the whole fleet."""
    path = folder / f"size-{interval:g}.db"
    busy = 0.0
    with History.writing(path) as history:
        for batch in fleet.polls(ticks, interval):
            began = time.process_time()
            history.polls.add(batch)
            busy += time.process_time() - began
    polls = ticks * fleet.SERVERS
    sizes = _sizes(path)
    raw = sum(size for table, size in sizes.items() if table.endswith("_sample"))
    limit = {1.0: 12.0, 10.0: 1.5}[interval]
    yield Figure(
        f"{fleet.SERVERS} servers x {fleet.GPUS} GPUs each {interval:g} s, before rollups",
        raw / polls * fleet.SERVERS * DAY / interval / 1e9, "GB a day", limit,
    )  # fmt: skip
    yield Figure("  of that, a GPU row", sizes["gpu_sample"] / polls / fleet.GPUS, "bytes")
    yield Figure("  rows written in batches of one tick", polls * ROWS_A_POLL / busy, "a CPU s", 20_000, at_least=True)


def rolled_up(folder: Path) -> Iterator[Figure]:
    """The cost of rollups, and a chart of 30 days out of them."""
    path = folder / "rollups.db"
    servers, start = 20, 1.79e9 // HOUR * HOUR
    with History.writing(path) as history:
        for batch in fleet.polls(60, 1.0, servers=servers, start=start):
            history.polls.add(batch)
        began = time.process_time()
        done = history.polls.roll_up(start + 1e6, limit=servers)
        yield Figure(
            "a minute of one server (8 GPUs, polled each s) rolled up",
            (time.process_time() - began) / done * 1e3,
            "ms CPU",
        )
        for batch in fleet.polls(30 * 24 * 6, 600.0, servers=4, start=start + HOUR):
            history.polls.add(batch)
        while history.polls.roll_up(start + 1e9, limit=10_000):
            pass
        sizes = _sizes(path)
        (minutes,) = history.database.rows("SELECT count(*) AS n FROM server_minute")
        (hours,) = history.database.rows("SELECT count(*) AS n FROM server_hour")
    for tier, rows, length in (("minute", minutes["n"], 60), ("hour", hours["n"], 3600)):
        size = sum(sizes[f"{kind}_{tier}"] for kind in ("server", "gpu", "host"))
        yield Figure(f"the {tier} tier of the fleet", size / rows * fleet.SERVERS * DAY / length / 1e9, "GB a day")
    with History.reading(path) as history:
        for metric, kind in (("lag_p95_seconds", "server"), ("busy_ratio", "gpu")):
            query = ChartQuery(server="asr-1:8000", metric=metric, kind=kind)  # type: ignore[arg-type]  # of the three words
            began = time.perf_counter()
            points = history.polls.chart(query, start, start + 31 * DAY, HOUR)
            assert len(points) > 700
            yield Figure(f"a chart of 30 days, {kind} {metric}", (time.perf_counter() - began) * 1e3, "ms", 200)


def polled(folder: Path) -> Iterator[Figure]:
    """What polling 100 servers each second costs this process, without a screen."""
    with fleet.answering() as port:
        sources = [WhisperOpsSource(f"http://127.0.0.1:{port}", name=f"asr-{i}") for i in range(fleet.SERVERS)]
        with HistoryWriter(folder / "polled.db") as writer:
            cpu, seconds, live = asyncio.run(_poll(Pollers(sources, interval=1.0), writer))
    yield Figure(f"{live / seconds:.0f} of {fleet.SERVERS} polls a second: CPU", cpu / seconds * 100, "% of a core", 20)
    yield Figure("  a poll: request, decoding, alerts, storing, rolling up", cpu / live * 1e3, "ms CPU")


async def _poll(fleet_of: Pollers, writer: HistoryWriter) -> tuple[float, float, int]:
    live = 0
    book, happenings = AlertBook(load_rules()), ChangeEvents()

    def emit(snapshot: Snapshot) -> None:
        """What `whisper-ops record` does with a poll."""
        nonlocal live
        live += snapshot.state == "live"
        writer.put(snapshot)
        for event in happenings.take(snapshot):
            writer.put(event)
        for change in book.take(snapshot):
            writer.put(change.alert.record())

    task = asyncio.create_task(fleet_of.run(emit))
    await asyncio.sleep(2)  # connections are made once, not each second
    live, cpu, began = 0, time.process_time(), time.perf_counter()
    await asyncio.sleep(CPU_SECONDS)
    cpu, seconds, counted = time.process_time() - cpu, time.perf_counter() - began, live
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return cpu, seconds, counted


def _sizes(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    try:
        return dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())
    except sqlite3.OperationalError as error:  # this SQLite was built without dbstat
        raise SystemExit(f"bench-history needs an SQLite with dbstat: {error}") from error
    finally:
        connection.close()


@contextmanager
def _timed(name: str) -> Iterator[None]:
    began = time.perf_counter()
    print(name, flush=True)  # noqa: T201  # a benchmark's result is its output
    yield
    print(f"  ({time.perf_counter() - began:.0f} s)", flush=True)  # noqa: T201


def main() -> int:
    """Measure and print everything."""
    kept = True
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], list[Figure]]] = {
            "size": lambda: [*written(Path(folder), 10.0, 150), *written(Path(folder), 1.0, 150)],
            "rollups": lambda: [*rolled_up(Path(folder))],
            "polling": lambda: [*polled(Path(folder))],
        }
        for name, measure in parts.items():
            with _timed(name):
                for figure in measure():
                    print(figure, flush=True)  # noqa: T201
                    kept = kept and figure.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
