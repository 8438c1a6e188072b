"""What `make bench-gpu` measured, as a history that `whisper-ops plan` reads: a sweep for each engine.

    python3 -m tests.bench.gpu_history RESULTS.json HISTORY.db

Its levels are a few seconds long and nobody compared a word: they are provisional, and say where the limit lies.
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from whisper_ops import __version__
from whisper_ops.history import History, LevelRecord, SweepRecord
from whisper_ops.objective import parse

OBJECTIVE = "lag_p95<=2s"


def write(results: dict[str, Any], path: Path) -> int:
    """Add the sweeps of one run to a history. Answers how many levels they have."""
    count = 0
    with History.writing(path) as history:
        for engine, levels in groupby(results["levels"], key=lambda level: level["engine"]):
            some = list(levels)
            sweep = history.sweeps.start(_sweep(results, engine, some))
            for level in some:
                readings = [r for r in results["nvml"] if (r["engine"], r["streams"]) == (engine, level["streams"])]
                history.sweeps.add_level(_level(sweep, level, results["max_batch"], readings))
            history.sweeps.finish(sweep, "done", some[-1]["started_at"] + some[-1]["seconds"])
            count += len(some)
    return count


def _sweep(results: dict[str, Any], engine: str, levels: list[dict[str, Any]]) -> SweepRecord:
    return SweepRecord(
        server="bench-gpu",
        started_at=levels[0]["started_at"],
        software="whisper-ops",
        version=__version__,
        engine=engine,
        model=Path(results["model"]).name,
        compute_type=levels[0]["compute_type"],
        max_batch=results["max_batch"],
        gpu_name=results["device"],
        gpus=1,
        chunk_seconds=0.1,
        corpus=results["talk"],
        objective=parse(OBJECTIVE).canonical,
    )


def _level(sweep: int, level: dict[str, Any], max_batch: int, readings: list[dict[str, Any]]) -> LevelRecord:
    used = [r["memory_used_bytes"] for r in readings if r.get("memory_used_bytes") is not None]
    return LevelRecord(
        sweep_id=sweep,
        streams=level["streams"],
        started_at=level["started_at"],
        duration_seconds=level["seconds"],
        audit="provisional",
        passed=level["held"],
        reason=level["why"],
        achieved_concurrency=level["audio_per_second"],
        words=0,
        connected=level["streams"],
        failed=level["failed_rows"],
        partials_per_second=level["texts_per_second"],
        late_p99_seconds=level["late_p99"],
        server_lag_p95_seconds=level["lag_p95"],
        server_busy_ratio=level["busy_ratio"],
        server_gpu_ratio=_share(level["gpu_percent"], 100),
        server_batch_fill=_share(level["batch_rows"], max_batch),
        server_cpu_ratio=level["worker_cores"],
        gpu_memory_used_bytes=max(used, default=None),
        streams_per_gpu=level["streams"],
        gpus=1,
    )


def _share(value: float | None, whole: float) -> float | None:
    return None if value is None else value / whole


def main(arguments: list[str]) -> int:
    """Write the history that is named second."""
    if len(arguments) != 2:
        sys.stderr.write("bench-gpu: name the results, a JSON file, and the history to write\n")
        return 2
    source, target = map(Path, arguments)
    count = write(json.loads(source.read_text("utf-8")), target)
    sys.stdout.write(f"{count} levels: whisper-ops plan --history {target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
