"""Planning from ten million rows of history: `make bench-rows`. Prints the seconds and the memory that `plan` takes."""

import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.capacity.plan_simulated import IDENTITY, SERVER
from whisper_ops.history import History
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

GPUS = 8
POLLS = 1_000_000  # 1 M polls of a server with 8 GPUs: 1 M + 1 M + 8 M rows
GOAL_SECONDS, GOAL_BYTES = 5.0, 500e6


def fill(path: Path) -> int:
    """Write the rows in SQL; returns how many there are."""
    first = Snapshot(
        server=SERVER,
        at=0.0,
        identity=IDENTITY,
        figures=ServerFigures(streams_active=1),
        gpus=tuple(GpuFigures(gpu_id=i, memory_total_bytes=80e9, streams_active=1) for i in range(GPUS)),
        host=HostFigures(cpu_count=24, memory_total_bytes=64e9, descriptors_soft_limit=65536),
    )
    with History.writing(path) as history:
        history.polls.add([first])
    db = sqlite3.connect(path)
    db.executescript(
        f"""
        PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-200000;
        CREATE TEMP TABLE tick AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {POLLS})
            SELECT i, CAST(20 + 19 * sin(i / 5000.0) + abs(random() % 3) AS INTEGER) AS load FROM n;
        BEGIN;
        INSERT INTO server_sample (server_id, at, streams_active, slots, slots_used, lag_p95_seconds)
            SELECT 1, i * 1.0, load * {GPUS}, 800, load * {GPUS}, 0.3 * (1 + 0.5 * load / (90.0 - load)) FROM tick;
        INSERT INTO host_sample (server_id, at, cpu_ratio, front_cpu_ratio, process_rss_bytes, open_descriptors)
            SELECT 1, i * 1.0, 0.05 + load / 300.0, load / 200.0, 4e9 + load * 1e7, 60 + load * {GPUS} FROM tick;
        INSERT INTO gpu_sample (server_id, at, gpu_id, streams_active, memory_used_bytes, busy_ratio, gpu_ratio,
                                temperature_celsius, power_watts, lag_p95_seconds)
            SELECT 1, i * 1.0, g.value, load, 12.4e9 + 0.168e9 * load, load / 85.0, 0.4, 60.0, 300.0,
                   0.3 * (1 + 0.5 * load / (90.0 - load))
            FROM tick, (WITH RECURSIVE k(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM k WHERE value < {GPUS - 1})
                        SELECT value FROM k) g ORDER BY i, g.value;
        COMMIT;
        """
    )
    tables = ("server_sample", "host_sample", "gpu_sample")
    rows = sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)
    db.close()
    return int(rows)


def _peak_bytes(stderr: str) -> float:
    return float(stderr.rsplit("peak", 1)[-1]) * 1024


_RUN = """
import resource, sys
from whisper_ops.cli import run
try:
    run(sys.argv[1:])
finally:
    sys.stderr.write(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        started = time.perf_counter()
        # In a process of its own: Linux counts what a parent held before it starts a child as the child's peak.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rows = pool.submit(fill, path).result()
        size = path.stat().st_size / 1e9
        sys.stdout.write(f"{rows:,} rows, {size:.1f} GB, written in {time.perf_counter() - started:.0f} s\n")
        started = time.perf_counter()
        command = [sys.executable, "-c", _RUN, "plan", "--history", str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        peak = _peak_bytes(done.stderr)
    sys.stdout.write(done.stdout)
    good = done.returncode == 0 and seconds <= GOAL_SECONDS and peak <= GOAL_BYTES
    goal = f"goal {GOAL_SECONDS:g} s and {GOAL_BYTES / 1e6:.0f} MB {'met' if good else 'MISSED'}"
    sys.stdout.write(f"\nplanned in {seconds:.2f} s with {peak / 1e6:.0f} MB: {goal}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
