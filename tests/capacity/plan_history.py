"""Histories with measured levels, as a load test would leave them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whisper_ops.history import History, LevelRecord, SweepRecord

OBJECTIVE = "stable_p95_seconds<=2,first_p95_seconds<=1,connected_ratio>=0.999,error_ratio<=0.001,wer_ratio<=+0.015"


def sweep(**changes: Any) -> SweepRecord:
    return SweepRecord(
        **{
            "server": "http://asr-1:8000", "started_at": 1000.0, "state": "done", "software": "whisper-ops",
            "version": "1.2.0", "engine": "ctranslate2", "model": "large-v3-turbo", "compute_type": "float16",
            "max_batch": 16, "gpu_name": "H100 80GB", "gpus": 1, "chunk_seconds": 0.1, "corpus": "words-abc",
            "objective": OBJECTIVE, **changes,
        }
    )  # fmt: skip


def level(streams: int, passed: bool | None, **changes: Any) -> LevelRecord:
    return LevelRecord(
        **{
            "sweep_id": 1, "streams": streams, "started_at": 1000.0 + streams, "duration_seconds": 60.0,
            "audit": "valid", "passed": passed, "achieved_concurrency": float(streams), "words": 40 * streams,
            "reason": "" if passed else "p95 stable word latency 2.60 s is over 2 s",
            "stable_p95_seconds": 0.4 if passed else 2.6, **changes,
        }
    )  # fmt: skip


def written(path: Path, levels: Sequence[LevelRecord], **changes: Any) -> Path:
    """Write one sweep with these levels; again for another."""
    with History.writing(path) as history:
        sweep_id = history.sweeps.start(sweep(**changes))
        for one in levels:
            history.sweeps.add_level(
                LevelRecord(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "sweep_id": sweep_id})
            )
    return path
