"""How long a user waits for `--help`, for `plan` on a small history and for `dash --once` of one server.

Each beside the same command of an older commit (BASE), in turns, on the same history and server, so that a busy machine
slows both. Wall time is what a user feels; processor time is what other programs on the machine change least.
"""

import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from tests.support.servers import running_server
from whisper_ops.console import data

ROOT = Path(__file__).parents[2]
BASE = os.environ.get("BASE", "80f52fc")
"""The commit whose times are to be halved."""
RUNS = int(os.environ.get("RUNS", "15"))
BYTECODE = Path(tempfile.gettempdir()) / "whisper-ops-bench-start"
HELP_SECONDS = 0.25
SHARE = 0.5
"""Of the older commit's time."""


class Cost(NamedTuple):
    """Seconds of one run."""

    wall: float
    cpu: float


def cost(code: Path, *arguments: str) -> Cost:
    """Run a command of the code in a folder."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "whisper_ops", *arguments],
        cwd=code,
        env=_of(code),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(time.perf_counter() - began, used)


def _of(code: Path) -> dict[str, str]:
    """The environment of a run, with bytecode kept as on a user's machine, wherever this one wants none."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(code), "PYTHONPYCACHEPREFIX": str(BYTECODE)}


def middle(costs: list[Cost]) -> Cost:
    """The median of each figure, without the first run, which fills the disk's cache."""
    return Cost(*(statistics.median(column) for column in zip(*costs[1:], strict=True)))


def older(folder: Path) -> Path | None:
    """The code of the older commit; None where this is no clone that has it."""
    packed = subprocess.run(["git", "archive", BASE], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        return None
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder / "base", filter="data")
    return folder / "base"


def main() -> None:
    """Print the figures, and exit with 1 where a promise is not kept."""
    kept = []
    with (
        tempfile.TemporaryDirectory() as name,
        running_server(Path(name), "--engine", "simulated", "--devices", "sim:2") as server,
    ):
        folder = Path(name)
        base = older(folder)
        histories = {}
        for code in filter(None, (ROOT, base)):
            # Each its own: what the newer one has migrated would be new to the older one.
            histories[code] = folder / f"{code.name}.db"
            make = _SMALL.format(path=str(histories[code]))
            subprocess.run([sys.executable, "-c", make], cwd=code, env=_of(code), check=True)
        empty = statistics.median(_python() for _ in range(RUNS))
        data().print(f"python -c pass      {empty:.3f} s")
        data().print(f"{'':34} {'now':>15} {BASE + ' (wall, cpu)' if base else '':>24}   wall  cpu")
        for told in ("--help", "plan", "dash --once"):
            runs: dict[Path, list[Cost]] = {code: [] for code in histories}
            for _ in range(RUNS + 1):
                for code, history in histories.items():
                    runs[code].append(cost(code, *_arguments(told, history, server.url)))
            now = middle(runs[ROOT])
            line = f"whisper-ops {told:22} {now.wall:6.3f} {now.cpu:6.3f} s"
            if base is not None:
                was = middle(runs[base])
                line += f" {was.wall:14.3f} {was.cpu:6.3f} s   {now.wall / was.wall:.2f}  {now.cpu / was.cpu:.2f}"
                kept.append(told == "--help" or now.wall <= SHARE * was.wall)
            data().print(line)
            if told == "--help":
                kept.append(now.wall <= HELP_SECONDS)
    data().print(f"promised: --help within {HELP_SECONDS} s, the others within {SHARE:g} of {BASE}'s time")
    sys.exit(0 if all(kept) else 1)


_SMALL = """
from pathlib import Path
from tests.capacity.plan_history import level, written
written(Path({path!r}), [level(s, passed=s <= 16) for s in (1, 4, 8, 12, 16, 20, 24)])
"""


def _arguments(told: str, history: Path, url: str) -> list[str]:
    if told == "--help":
        return ["--help"]
    return ["plan", "--history", str(history)] if told == "plan" else ["dash", "--once", url, "--history", str(history)]


def _python() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
