"""Standard streams that are closed, full or abandoned: a sentence and an exit code, never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HOST = Path(__file__).parents[3] / "docs" / "host-profile.toml"
FULL = "whisper-ops: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "streams", "code", "err"),
    [
        ("--help", ">/dev/full", 2, FULL),
        ("--help", ">&-", 0, ""),
        ("--help", "<&- >&- 2>&-", 0, ""),
        ("--help", "2>/dev/full", 0, ""),
        ("--help", "| true", 0, ""),
        ("nonsense", "2>/dev/full", 2, ""),
        ("nonsense", "2>&-", 2, ""),
        (f"plan --host-profile {HOST} --json", ">/dev/full", 2, FULL),
        (f"plan --host-profile {HOST}", "| true", 0, ""),
        (f"plan --host-profile {HOST} --html /dev/full", ">/dev/null", 2, "whisper-ops: cannot write the report"),
    ],
)
def test_streams_that_cannot_be_written(arguments: str, streams: str, code: int, err: str) -> None:
    line = f"set -o pipefail; {sys.executable} -m whisper_ops {arguments} {streams}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(err)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert bool(done.stderr) == bool(err)


def test_nonsense_in_the_environment_stops_nothing() -> None:
    nonsense = "COLUMNS=² LINES=-1 WHISPER_OPS_WIDTH=١٢ PYTHONIOENCODING=ascii TERM=none"
    line = f"{nonsense} {sys.executable} -m whisper_ops plan --host-profile {HOST} --json"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "whisper-ops/plan/1"
