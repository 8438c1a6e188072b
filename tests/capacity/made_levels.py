"""Levels and outcomes of sweeps that were never run, for tests of what is made of them."""

import msgspec

from capacity.loadtest.runner import SweepOutcome
from whisper_ops.history import LevelRecord, SweepRecord

SWEEP = SweepRecord(
    server="host:8000",
    started_at=1.0,
    state="done",
    model="tiny.en",
    simulated=True,
    chunk_seconds=0.1,
    corpus="speech@1",
    objective="stable_p95_seconds<=2",
)


def level(streams: int, stable: float | None = 0.5, **more: object) -> LevelRecord:
    given = {
        "sweep_id": 1,
        "streams": streams,
        "started_at": 1.0,
        "duration_seconds": 60.0,
        "audit": "valid",
        "passed": True,
        "reason": "",
        "achieved_concurrency": float(streams),
        "words": 500,
        "stable_p95_seconds": stable,
        "stable_p50_seconds": 0.2,
        "first_p95_seconds": 0.4,
        "wer_ratio": 0.03,
        "partials_per_second": 2.0,
    }
    return msgspec.convert({**given, **more}, LevelRecord)


def outcome(*levels: LevelRecord) -> SweepOutcome:
    return SweepOutcome(
        sweep_id=1, sweep=SWEEP, levels=levels, state="done", reason=None, conclusion="the limit lies in [5, 10)"
    )
