"""How long a user waits for `whisper-ops --help`, beside an empty Python and the stated limit of 0.25 s."""

import statistics
import subprocess
import sys
import time

from whisper_ops.console import data

RUNS = 15
LIMIT_SECONDS = 0.25


def seconds(*arguments: str) -> float:
    """The median wall time of a command, after one warm-up."""
    times = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    """Print the figures."""
    empty, told = seconds("-c", "pass"), seconds("-m", "whisper_ops", "--help")
    data().print(f"python -c pass      {empty:.3f} s")
    data().print(f"whisper-ops --help  {told:.3f} s   {told / LIMIT_SECONDS:.2f} of the limit of {LIMIT_SECONDS} s")


if __name__ == "__main__":
    main()
