"""Real control groups with limits, where this machine lets us make some; version 1 and 2."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def limited(*, cores: float, memory: int, tasks: int) -> Iterator[Sequence[str]]:
    """What to run a command by, so that it and its children have so much; the limits stand one group above theirs.

    Skips the test where no group can be made.
    """
    made: list[Path] = []
    try:
        try:
            joined = [_make(folder, cores, memory, tasks, made) for folder in _tops()]
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")
        if not joined:
            pytest.skip("no control group can be made here: no controller is mounted")
        moves = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in joined)
        yield ("sh", "-c", f'set -e; {moves}exec "$@"', "sh")
    finally:
        for folder in reversed(made):
            _remove(folder)


def _tops() -> list[Path]:
    """Where groups can be made in the trees that hold the limits: version 2's, or each of version 1's."""
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    if (ROOT / "cgroup.controllers").exists():
        path = next(path for number, _, path in own if number == "0")
        return [ROOT / path.lstrip("/")]
    wanted = {"cpu", "cpuacct", "memory", "pids"}
    trees = [names for _, names, _ in own if wanted & {*names.split(",")}]
    places = [[ROOT / names, *(ROOT / name for name in names.split(","))] for names in trees]
    return [next(folder for folder in folders if folder.is_dir()) for folders in places]


def _make(top: Path, cores: float, memory: int, tasks: int, made: list[Path]) -> Path:
    group = top / f"whisper-ops-test-{os.getpid()}"
    group.mkdir()
    made.append(group)
    period = 100_000
    settings = {
        "cpu.cfs_quota_us": f"{cores * period:.0f}",
        "cpu.max": f"{cores * period:.0f} {period}",
        "memory.limit_in_bytes": str(memory),
        "memory.max": str(memory),
        "pids.max": str(tasks),
    }
    for name, value in settings.items():
        if (group / name).exists():
            (group / name).write_text(value)
    # A limit holds for the groups below as well, which have none of their own.
    inner = group / "inner"
    inner.mkdir()
    made.append(inner)
    return inner


def _remove(folder: Path) -> None:
    """A group goes when its last process is gone, which may be a moment after it ended."""
    deadline = time.monotonic() + 10
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
