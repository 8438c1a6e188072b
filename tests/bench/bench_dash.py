"""`make bench-dash`: 100 simulated servers of 8 GPUs, polled each second by a real dashboard in a real terminal.

Bounds (docs/dashboard.md): 35 % of one core, 250 MB, a key press on screen in 100 ms (p95), 20 KB/s to the terminal;
one hung and one dead server change nothing for the others.
"""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import psutil

from whisper_ops.history import History

SERVERS, GPUS, SECONDS, KEYS = 100, 8, 20.0, 30
WARM_SECONDS = 8.0


class Terminal:
    """A dashboard in a pseudo-terminal of 120 by 40, whose output is read and counted as a terminal would."""

    def __init__(self, command: list[str]) -> None:
        pid, self._master = pty.fork()
        if pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            os.execvp(command[0], command)  # our own command
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = psutil.Process(pid)
        self.bytes = 0

    def read(self, seconds: float) -> bytes:
        """What it writes within some seconds; returns early with the first bytes."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return b""
        try:
            got = os.read(self._master, 1 << 16)
        except OSError:  # the other side is closed: it has ended
            return b""
        self.bytes += len(got)
        return got

    def watch(self, seconds: float) -> None:
        """Read for some seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)

    def press(self, key: bytes, sign: bytes, deadline: float = 5.0) -> float:
        """Press a key; seconds until `sign` was written."""
        began = time.monotonic()
        os.write(self._master, key)
        tail = b""
        while sign not in tail:
            if time.monotonic() - began > deadline:
                raise TimeoutError(f"{key!r} showed no {sign!r}")
            tail = tail[-200:] + self.read(deadline)
        return time.monotonic() - began


def main() -> int:
    """Measure, print a line a figure, and say with the exit code whether all are within their bounds."""
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "history.db"
        fleet = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.simulated_fleet", str(SERVERS), str(GPUS)], stdout=subprocess.PIPE
        )
        assert fleet.stdout is not None
        try:
            urls = json.loads(fleet.stdout.readline())
            figures = measured(urls, history)
        finally:
            fleet.terminate()
            fleet.wait()
    return judged(figures)


def measured(urls: list[str], history: Path) -> dict[str, float]:
    """Run a dashboard over these servers."""
    terminal = Terminal([sys.executable, "-m", "whisper_ops", "dash", *urls, "--history", str(history)])
    terminal.watch(WARM_SECONDS)
    before, began, sent = terminal.process.cpu_times(), time.monotonic(), terminal.bytes
    since = time.time()
    terminal.watch(SECONDS)
    after, lasted = terminal.process.cpu_times(), time.monotonic() - began
    memory = terminal.process.memory_info().rss
    flow = (terminal.bytes - sent) / lasted
    until = time.time()
    # Help opens a new screen, the dearest thing that a key can do; its name in the title tells that it is there.
    waits = []
    for _ in range(KEYS):
        waits.append(terminal.press(b"?", b"Questions"))
        terminal.watch(0.15)
        waits.append(terminal.press(b"h", b"5 min"))
        terminal.watch(0.15)
    terminal.process.terminate()
    while terminal.process.is_running() and terminal.process.status() != psutil.STATUS_ZOMBIE:
        terminal.read(0.1)
    os.waitpid(terminal.process.pid, 0)
    return {
        "cpu_percent": (after.user + after.system - before.user - before.system) / lasted * 100,
        "memory_megabytes": memory / 1e6,
        "terminal_kilobytes_per_second": flow / 1e3,
        "key_p95_milliseconds": sorted(waits)[int(0.95 * (len(waits) - 1))] * 1e3,
        "fewest_polls_per_second": fewest_polls(history, since, until, len(urls) - 2),
    }


def fewest_polls(history: Path, since: float, until: float, expected: int) -> float:
    """Polls a second of the live server that got fewest; 0 when one got none."""
    with History.reading(history) as stored:
        rows = stored.rows(
            "SELECT count(*) AS polls FROM server_sample WHERE error IS NULL AND at >= ? AND at < ? GROUP BY server_id",
            [since, until],
        )
        counts = [int(row["polls"]) for row in rows]
    return min(counts) / (until - since) if len(counts) == expected else 0.0


BOUNDS = {
    "cpu_percent": 35.0,
    "memory_megabytes": 250.0,
    "terminal_kilobytes_per_second": 20.0,
    "key_p95_milliseconds": 100.0,
}
LEAST = {"fewest_polls_per_second": 0.9}


def judged(figures: dict[str, float]) -> int:
    """Print each figure beside its bound."""
    good = True
    for name, value in figures.items():
        within = value <= BOUNDS[name] if name in BOUNDS else value >= LEAST[name]
        good = good and within
        bound = f"at most {BOUNDS[name]:g}" if name in BOUNDS else f"at least {LEAST[name]:g}"
        sys.stdout.write(f"{'good' if within else 'MISSED':<7} {name:<32} {value:8.2f}   {bound}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
