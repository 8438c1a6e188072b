"""`--watch NAME=PID|CGROUP`: CPU and memory of a process with its children, or of a control group, while levels run.

For servers without endpoints of their own, for each replica of a service, and for the balancer before them.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from whisper_ops.errors import UserError

_CGROUPS = Path("/sys/fs/cgroup")


class Reading(NamedTuple):
    """CPU seconds used so far, and memory in bytes."""

    cpu_seconds: float
    memory_bytes: float


class Watch:
    """One thing that is watched. `rows` holds a sample a second: at (UTC epoch), cpu_ratio (cores), memory_bytes."""

    def __init__(self, name: str, what: str, read: Callable[[], Reading | None]) -> None:
        self.name = name
        self.rows: list[dict[str, float]] = []
        self._what = what
        self._read = read
        self._ended = False

    @property
    def complaint(self) -> str | None:
        """What to say when it ended before the levels did; else None."""
        if not self._ended:
            return None
        count = len(self.rows)
        samples = f"{count} {'sample' if count == 1 else 'samples'}" if count else "the first sample"
        when = "after" if count else "before"
        return f"--watch {self.name}: {self._what} ended {when} {samples}, and no later level has its CPU and memory"

    async def run(self) -> None:
        """Sample once a second until cancelled; what ended is no longer sampled."""
        last, then = self._read(), time.monotonic()
        while last is not None:
            await asyncio.sleep(1)
            reading, now = self._read(), time.monotonic()
            if reading is not None:
                cpu = max(0.0, reading.cpu_seconds - last.cpu_seconds) / (now - then)
                self.rows.append({"at": time.time(), "cpu_ratio": cpu, "memory_bytes": reading.memory_bytes})
            last, then = reading, now
        self._ended = True


def parse_watches(texts: Sequence[str]) -> tuple[Watch, ...]:
    """Read every `--watch`.

    Raises:
        UserError: one cannot be read, or two have the same name.
    """
    found: dict[str, Watch] = {}
    for text in texts:
        watch = parse_watch(text)
        if watch.name in found:
            raise UserError(f"--watch {text!r}: the name {watch.name} is given already; give each a name of its own")
        found[watch.name] = watch
    return tuple(found.values())


def parse_watch(text: str) -> Watch:
    """Read `NAME=PID` or `NAME=CGROUP`, a control group as a path below /sys/fs/cgroup.

    Raises:
        UserError: it is neither, or there is no such process or group.
    """
    name, sign, what = text.partition("=")
    if not sign or not name or not what:
        raise UserError(f"cannot read --watch {text!r}; write NAME=PID or NAME=CGROUP")
    if what.isascii() and what.isdigit():
        process = _process(int(what))
        if process is None or _family(process) is None:
            raise UserError(
                f"--watch {text!r}: there is no process {what}, or it has ended; give the id of a running one"
            )
        return Watch(name, f"process {what}", lambda: _family(process))
    group = _CGROUPS / what.removeprefix(str(_CGROUPS)).strip("/")
    if _group(group) is None:
        raise UserError(f"--watch {text!r}: there is no control group {group} with cpu.stat and memory.current")
    return Watch(name, f"control group {group}", lambda: _group(group))


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except (psutil.Error, OverflowError):
        return None


def _family(parent: psutil.Process) -> Reading | None:
    try:
        # By its start as well: another process may get its number.
        if not parent.is_running():
            return None
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return None
    cpu = memory = 0.0
    for process in family:
        try:
            times = process.cpu_times()
            memory += process.memory_info().rss
        except psutil.Error:
            continue  # a child that ended in between
        cpu += times.user + times.system
    return Reading(cpu, memory) if memory else None


def _group(group: Path) -> Reading | None:
    try:
        stat = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
        return Reading(int(stat["usage_usec"]) / 1e6, float((group / "memory.current").read_text()))
    except (OSError, ValueError, KeyError):
        return None
