"""`make bench-gpu` runs to its end on a machine that has nothing but torch's packages and the wheels it carries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [torch] extra")

from tests.bench import gpu_history
from whisper_ops.history import History

pytestmark = pytest.mark.serial

CARRIED = ("msgspec",)
"""Wheels that are brought along; everything else is the machine's."""
BLOCKER = f"""
import sys
from importlib.metadata import packages_distributions, requires
from packaging.requirements import Requirement

def tree(name, seen):
    if name in seen:
        return seen
    seen.add(name)
    for line in requires(name) or ():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({{"extra": ""}}):
            try:
                tree(need.name, seen)
            except Exception:
                pass
    return seen

canonical = lambda name: name.lower().replace("_", "-")
allowed = {{canonical(n) for n in tree("torch", set()) | set({CARRIED!r}) | {{"numpy", "packaging"}}}}
blocked = {{
    module
    for module, names in packages_distributions().items()
    if not any(canonical(n) in allowed | {{"whisper-ops"}} for n in names)
}}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Blocker())
"""


def test_it_runs_to_its_end_with_torch_alone(tmp_path: Path) -> None:
    bare, answer = tmp_path / "bare", tmp_path / "answer.json"
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(BLOCKER)
    command = [sys.executable, "-m", "tests.bench.bench_gpu", "--device", "cpu", "--seconds", "30", str(answer)]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "PYTHONPATH": str(bare)},
        cwd=Path(__file__).parents[4],
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "no GPU is used" in ran.stdout
    assert "live streams at p95 lag" in ran.stdout
    body = json.loads(answer.read_text())
    assert {t["part"] for t in body["times"]} >= {"encode", "admit"}
    assert body["levels"][0]["streams"] == 2
    assert body["levels"][0]["lag_p95"] > 0
    assert body["levels"][0]["worker_cores"] > 0
    assert body["levels"][0]["power_watts"] is None
    assert body["graphs"]["uncaptured"] == 0
    # The history is made where there is more than torch: here the sentence says how.
    assert f"python3 -m tests.bench.gpu_history {answer} {answer.with_suffix('.db')}" in ran.stdout
    assert gpu_history.main([str(answer), str(answer.with_suffix(".db"))]) == 0
    with History.reading(answer.with_suffix(".db")) as history:
        (sweep,) = history.sweeps.every()
        levels = history.sweeps.levels(sweep.id)
    assert (sweep.sweep.model, sweep.sweep.engine, sweep.sweep.gpu_name) == ("random:tiny", "torch", "CPU")
    assert [level.streams for level in levels] == [level["streams"] for level in body["levels"]]
    assert levels[0].server_lag_p95_seconds == body["levels"][0]["lag_p95"]
    assert levels[0].achieved_concurrency == pytest.approx(2, rel=0.2)
    about = ("at", "engine", "streams")
    # A reading that is not there is unknown, never 0.
    assert all(value is None for reading in body["nvml"] for name, value in reading.items() if name not in about)


def test_a_model_that_cannot_be_had_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.bench.bench_gpu import main

    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--seconds"])
    assert main(["--device", "cuda:0", "--seconds", "20"]) == 2
    assert "finds no CUDA GPU" in capsys.readouterr().err
