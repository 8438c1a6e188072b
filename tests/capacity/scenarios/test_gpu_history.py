"""What `make bench-gpu` measured becomes a history that `plan` answers from."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import gpu_history
from tests.capacity.planner_cli import whisper_ops


def _level(streams: int, lag: float, why: str = "", **changes: Any) -> dict[str, Any]:
    return {
        "engine": "torch", "streams": streams, "seconds": 12.0, "started_at": 1000.0 + streams,
        "compute_type": "bfloat16", "audio_per_second": streams * 0.999, "lag_p95": lag, "texts_per_second": 1.1,
        "late_p99": 0.004, "batch_rows": 30.0, "busy_ratio": 0.7, "failed_rows": 0, "worker_cores": 0.8,
        "gpu_percent": 61.0, "held": not why, "why": why, **changes,
    }  # fmt: skip


RESULTS = {
    "device": "NVIDIA H200",
    "model": "/models/whisper-large-v3-turbo",
    "max_batch": 64,
    "talk": "noise",
    "levels": [
        _level(100, 0.9), _level(200, 1.1), _level(400, 3.4, "p95 lag 3.40 s is over 2 s"), _level(300, 1.6),
        _level(8, 1.0, engine="ctranslate2", compute_type="float16"),
        _level(16, 5.0, "p95 lag 5.00 s is over 2 s", engine="ctranslate2", compute_type="float16", gpu_percent=None),
    ],
    "nvml": [
        {"engine": "torch", "streams": 100, "memory_used_bytes": 20e9, "power_watts": 300.0},
        {"engine": "torch", "streams": 100, "memory_used_bytes": 21e9, "power_watts": None},
        {"engine": "torch", "streams": 200, "memory_used_bytes": None, "power_watts": 400.0},
        {"engine": "ctranslate2", "streams": 100, "memory_used_bytes": 99e9, "power_watts": 400.0},
    ],
}  # fmt: skip


def test_a_plan_is_made_of_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source, target = tmp_path / "results.json", tmp_path / "history.db"
    source.write_text(json.dumps(RESULTS))
    assert gpu_history.main([str(source), str(target)]) == 0
    assert "6 levels" in capsys.readouterr().out
    plan = whisper_ops(capsys, "plan", "--history", str(target), "--json").json
    assert (plan["key"]["gpu_name"], plan["key"]["model"]) == ("NVIDIA H200", "whisper-large-v3-turbo")
    assert (plan["key"]["engine"], plan["key"]["compute_type"]) == ("torch", "bfloat16")
    assert (plan["capacity"]["last_pass"], plan["capacity"]["first_fail"]) == (300, 400)
    # A few seconds, and no word compared: nobody is told more than that.
    assert plan["provisional"]
    memory = next(resource for resource in plan["resources"] if resource["kind"] == "gpu_memory")
    assert memory["points"] == [[100.0, 21.0]]
