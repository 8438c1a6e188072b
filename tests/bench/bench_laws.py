"""Three simulated laws through the real commands, in real time: `serve`, `record`, `sweep`, `plan`.

What is right is asked of the server itself, after the plan: 5 % below the planned limit must meet the objective and 5 %
above must miss it. Where memory binds, what is right is arithmetic. Levels are short, so every plan says provisional.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.servers import running_server, whisper_ops

SECONDS = "10"
WITHIN = 0.05


class Law(NamedTuple):
    """A simulated GPU, and its limit where arithmetic knows it."""

    name: str
    law: str
    batch: int
    memory_limit: float | None = None


LAWS = (
    Law("slow steps, small batches", "a=0.15,b=0.08", 8),
    Law("quick steps", "a=0.04,b=0.045", 4),
    # 95 % of 6 GB less 2 GB, 250 MB a stream.
    Law("memory", "a=0.02,b=0.01,base=2e9,slope=250e6,memory=6e9", 16, (0.95 * 6e9 - 2e9) / 250e6),
)


def measure(law: Law, folder: Path) -> bool:
    """Print what the plan says of one law and whether it is right."""
    started = time.perf_counter()
    history = str(folder / "history.db")
    how = ("--levels", "2,4,8,12") if law.memory_limit else ("--search", "--tolerance", "10", "--max-levels", "7")
    serve = ("--engine", "simulated", "--devices", "sim:1", "--sim-law", law.law, "--max-batch", str(law.batch))
    with running_server(folder, *serve, "--max-connections-per-gpu", "200") as server:
        recorder = subprocess.Popen(
            [sys.executable, "-m", "whisper_ops", "record", server.url, "--history", history, "--interval", "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            if _sweep(server.url, history, *how) is None:
                return False
        finally:
            recorder.terminate()
            recorder.wait(20)
        planned = _plan(history)
        if law.memory_limit is not None:
            row = next(row for row in planned["resources"] if row["name"] == "GPU memory")
            good = row["limit"] is not None and abs(row["limit"] / law.memory_limit - 1) <= WITHIN
            told = f"memory limit {row['limit']} of {law.memory_limit:.1f}"
        else:
            limit = planned["capacity"]["estimate"] or 0.0
            below, above = math.floor(limit * (1 - WITHIN)), math.ceil(limit * (1 + WITHIN))
            levels = _sweep(server.url, str(folder / "checked.db"), "--levels", f"{below},{above}")
            passed = {level["streams"]: level["passed"] for level in levels or []}
            good = passed.get(below) is True and passed.get(above) is False
            told = f"limit {limit:.1f}: {below} passed {passed.get(below)}, {above} passed {passed.get(above)}"
    seconds = time.perf_counter() - started
    sys.stdout.write(f"  {law.name:28}{told}: {'within 5 %' if good else 'WRONG'}, {seconds:.0f} s\n")
    sys.stdout.flush()
    return good


def _sweep(url: str, history: str, *how: str) -> list[dict[str, Any]] | None:
    done = whisper_ops("sweep", url, *how, "--duration", SECONDS, "--history", history, "--json", timeout=400)
    if done.returncode not in (0, 1):
        sys.stdout.write(f"  the sweep ended with {done.returncode}: {done.stderr.splitlines()[-1:]}\n")
        return None
    levels: list[dict[str, Any]] = json.loads(done.stdout)["levels"]
    return levels


def _plan(history: str) -> dict[str, Any]:
    done = whisper_ops("plan", "--history", history, "--json")
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    return found


def main() -> int:
    wanted = sys.argv[1:]
    laws = [law for law in LAWS if not wanted or law.name.split()[0] in wanted]
    sys.stdout.write(f"{len(laws)} simulated laws through serve, record, sweep and plan, {SECONDS} s a level:\n")
    good = []
    for law in laws:
        with tempfile.TemporaryDirectory() as folder:
            good.append(measure(law, Path(folder)))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
