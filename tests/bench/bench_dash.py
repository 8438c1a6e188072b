"""`make bench-dash`: 100 simulated servers of 8 GPUs, polled each second by a real dashboard in a real terminal.

Bounds (docs/dashboard.md): 35 % of one core, 250 MB, a key press on screen in 100 ms (p95, of all keys and of the
dearest one), 20 KB/s to the terminal; one hung and one dead server change nothing for the others.
"""

import fcntl
import json
import os
import pty
import random
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

from dashboard.replay.replay_feed import ReplayFeed
from tests.bench.figure import Figure
from tests.bench.fleet import polls
from whisper_ops.history import History

T = TypeVar("T")

SERVERS, GPUS, SECONDS, ROUNDS = 100, 8, 20.0, 12
PAST_SECONDS = 420
WARM_SECONDS = 8.0
_CURSOR = b"48;2;38;49;63m"
"""How a terminal is told the colour of the row under the cursor, in the theme `night`."""


class Key(NamedTuple):
    """A key press and the bytes that are on screen when it was acted on."""

    name: str
    send: bytes
    sign: bytes

    @property
    def line(self) -> bool:
        """Whether it is a line that is typed and ended, and so many key presses."""
        return len(self.send) > 1 and self.send.endswith(b"\r")


KEYS = (
    Key("down", b"\x1b[B", _CURSOR + b"sim-001"),
    Key("j", b"j", _CURSOR + b"sim-002"),
    Key("up", b"\x1b[A", _CURSOR + b"sim-001"),
    Key("end", b"G", _CURSOR + b"sim-099"),
    Key("home", b"g", _CURSOR + b"sim-000"),
    Key("unfold", b" ", "└ ".encode()),
    Key("fold", b" ", b"worst lag p95"),
    Key("enter: server", b"\r", b"finals p95"),
    Key("enter: GPU", b"\r", b"device busy"),
    Key("esc: back", b"\x1b", b"finals p95"),
    Key("h: back", b"h", b"worst lag p95"),
    Key("o: sort", b"o", "▾".encode()),
    Key(":sort server", b":sort server\r", "▾".encode()),
    Key("/: filter", b"/", b"gpu~h100"),
    Key("filter typed", b"sim-00\r", b"esc clears it"),
    Key("esc: no filter", b"\x1b", _CURSOR + b"sim-000"),
    Key("2: alerts", b"2", b" active"),
    Key("3: plan", b"3", b"whisper-ops sweep URL"),
    Key("4: events", b"4", b"recording to"),
    Key("1: fleet", b"1", b"worst lag p95"),
    Key("?: help", b"?", b"Questions"),
    Key("h: back", b"h", b"worst lag p95"),
)
"""A round through the dashboard; it ends where it began, on the first row of the fleet."""


class Terminal:
    """A dashboard in a pseudo-terminal of 120 by 40, whose output is read and counted as a terminal would."""

    def __init__(self, command: list[str], folder: Path) -> None:
        pid, self._master = pty.fork()
        if pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", XDG_STATE_HOME=str(folder))
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

    def press(self, key: Key, deadline: float = 5.0) -> float:
        """Press a key; seconds until its sign was written."""
        began = time.monotonic()
        os.write(self._master, key.send)
        tail = b""
        while key.sign not in tail:
            if time.monotonic() - began > deadline:
                raise TimeoutError(f"{key.name} showed no {key.sign!r}")
            tail = tail[-200:] + self.read(deadline)
        return time.monotonic() - began

    def end(self) -> None:
        """SIGTERM, and wait while its last words are read."""
        self.process.terminate()
        while self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE:
            self.read(0.1)
        os.waitpid(self.process.pid, 0)


def main() -> int:
    """Measure, print a line a figure, and say with the exit code whether all are within their bounds."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.simulated_fleet", str(SERVERS), str(GPUS)], stdout=subprocess.PIPE
        )
        assert fleet.stdout is not None
        try:
            figures = measured(json.loads(fleet.stdout.readline()), Path(folder))
        finally:
            fleet.terminate()
            fleet.wait()
        figures += replayed(Path(folder) / "past.db")
    for figure in figures:
        sys.stdout.write(f"{figure}\n")
    return 0 if all(figure.kept for figure in figures) else 1


def measured(urls: list[str], folder: Path) -> list[Figure]:
    """Run a dashboard over these servers."""
    history = folder / "history.db"
    named = [f"sim-{number:03d}={url}" for number, url in enumerate(urls)]
    terminal = Terminal([sys.executable, "-m", "whisper_ops", "dash", *named, "--history", str(history)], folder)
    terminal.watch(WARM_SECONDS)
    before, began, sent = terminal.process.cpu_times(), time.monotonic(), terminal.bytes
    since = time.time()
    terminal.watch(SECONDS)
    after, lasted = terminal.process.cpu_times(), time.monotonic() - began
    memory, flow = terminal.process.memory_info().rss, (terminal.bytes - sent) / lasted
    until = time.time()
    waits = pressed(terminal)
    terminal.end()
    cpu = (after.user + after.system - before.user - before.system) / lasted
    fewest = fewest_polls(history, since, until, len(urls) - 2)
    return [
        Figure("CPU of one core", cpu * 100, "%", 35),
        Figure("memory", memory / 1e6, "MB", 250),
        Figure("to the terminal", flow / 1e3, "KB/s", 20),
        Figure("polls of the live server that got fewest", fewest, "a second", 0.9, at_least=True),
        *key_figures(waits),
    ]


def replayed(history: Path) -> list[Figure]:
    """How long it takes to go through the past of as many servers; what is timed is done beside the event loop."""
    with History.writing(history) as past:
        for batch in polls(PAST_SECONDS, 1.0, servers=SERVERS, start=time.time() - PAST_SECONDS - 60):
            past.polls.add(batch)
    end = time.time() - 100
    replay, opened = timed(lambda: ReplayFeed(history, end - 30))
    replay.playing = False
    steps = {"on": 10.0, "back": -10.0, "to another minute": -40.0}
    waits: dict[str, list[float]] = {}
    for _ in range(5):
        for name, seconds in steps.items():
            while replay.refresh():  # what was read ahead while somebody looked
                pass
            waits.setdefault(name, []).append(timed(partial(shown, replay, seconds))[1])
        shown(replay, 40.0)
    replay.close()
    lines = [Figure(f"replay, a step {name}: median of {len(w)}", p(w, 0.5), "ms", 200) for name, w in waits.items()]
    return [Figure("replay, opened", opened * 1000, "ms"), *lines]


def shown(replay: ReplayFeed, seconds: float) -> None:
    """Go to another moment, until there is a picture of it."""
    replay.seek(replay.at + seconds)
    if seconds < 0:
        replay.refresh()
    replay.world()


def timed(deed: Callable[[], T]) -> tuple[T, float]:
    """What it answers, and the seconds that took."""
    began = time.monotonic()
    return deed(), time.monotonic() - began


def pressed(terminal: Terminal) -> dict[str, list[float]]:
    """Seconds until each key was on screen; the pauses between them differ, so that no key keeps step with polls."""
    chance = random.Random(1)
    terminal.press(Key(":sort server", b":sort server\r", "server ▾".encode()))
    waits: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for key in KEYS:
            terminal.watch(chance.uniform(0.1, 0.3))
            waits.setdefault(key.name, []).append(terminal.press(key))
    return waits


def key_figures(waits: dict[str, list[float]]) -> list[Figure]:
    """A line a key, then all keys together; lines that are typed stand apart."""
    single = {key.name for key in KEYS if not key.line}
    every = [wait for name, key in waits.items() if name in single for wait in key]
    lines = [
        Figure(f"key {name} (median {p(key, 0.5):.0f}): worst of {len(key)}", p(key, 1.0), "ms")
        for name, key in waits.items()
    ]
    dearest = max(single, key=lambda name: p(waits[name], 0.95))
    return [
        *lines,
        Figure(f"a key press, p95 of {len(every)} (median {p(every, 0.5):.0f})", p(every, 0.95), "ms", 100),
        Figure(f"the dearest key, p95: {dearest}", p(waits[dearest], 0.95), "ms", 100),
    ]


def p(waits: list[float], share: float) -> float:
    """A percentile, in milliseconds."""
    return sorted(waits)[round(share * (len(waits) - 1))] * 1000


def fewest_polls(history: Path, since: float, until: float, expected: int) -> float:
    """Polls a second of the live server that got fewest; 0 when one got none."""
    with History.reading(history) as stored:
        rows = stored.database.rows(
            "SELECT count(*) AS polls FROM server_sample WHERE error IS NULL AND at >= ? AND at < ? GROUP BY server_id",
            [since, until],
        )
        counts = [int(row["polls"]) for row in rows]
    return min(counts) / (until - since) if len(counts) == expected else 0.0


if __name__ == "__main__":
    sys.exit(main())
