"""What a machine has and what its GPUs say is read in one place, so that no two commands can tell it differently."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = "whisper_ops/telemetry/"
ROOMS = ("whisper_ops", "server", "dashboard", "capacity")


@pytest.mark.parametrize(
    "reading",
    [
        r"import pynvml",
        r"nvmlInit\(",
        r"sched_getaffinity|cpu_count\(",
        r"virtual_memory|getloadavg|cpu_percent|net_if_stats|net_io_counters|net_connections",
        r"[\"'(]/proc/|/sys/fs/cgroup[\"'/]",
        r"cgroup\.controllers|cpu\.max|memory\.max|pids\.max|limit_in_bytes",
    ],
)
def test_only_telemetry_reads_the_machine(reading: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if not path.relative_to(ROOT).as_posix().startswith(HERE)
        for line in path.read_text("utf-8").splitlines()
        if re.search(reading, line)
    ]
    assert not found, "ask whisper_ops.telemetry.host or .nvml instead"
