"""What this process may use of its machine: of what the machine has, the part that its control groups leave it.

Everything that asks for cores, memory or tasks asks here, so that a server in a container starts the threads that its
quota carries, and `doctor`, `serve` and the plan name the same figures.
"""

import contextlib
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from whisper_ops.counter_delta import counter_increase
from whisper_ops.telemetry.control_group_files import NO_LIMIT
from whisper_ops.telemetry.control_groups import ControlGroups

_SHORTEST_SECONDS = 0.05
"""The kernel counts processor time in steps of a hundredth: over less than this a share of it says nothing."""


class HostMemory(NamedTuple):
    """In bytes."""

    total: int
    available: int


def affinity() -> frozenset[int]:
    """The processors that this process may run on, by number."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def cores(groups: ControlGroups | None = None) -> float:
    """Cores that may be used: a whole number, or what a quota leaves of one, as 1.5."""
    limits = (groups or ControlGroups()).limits()
    cpus = affinity()
    count = len(cpus & limits.cpus if limits.cpus else cpus) or len(cpus)
    if limits.cpu_cores is None or limits.cpu_cores >= count:
        return count
    return int(limits.cpu_cores) if limits.cpu_cores.is_integer() else round(limits.cpu_cores, 3)


def whole_cores(groups: ControlGroups | None = None) -> int:
    """How many threads may compute at once without waiting for each other: at least one."""
    return max(1, math.floor(cores(groups)))


def machine_cores() -> int | None:
    """Cores of the whole machine, whose the load average is."""
    return psutil.cpu_count()


def processor(description: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """The vendor's name of the first processor, and what it can do; empty where the system does not say."""
    try:
        lines = description.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return "", frozenset()
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return found.get("vendor_id", ""), frozenset(found.get("flags", "").split())


def memory(groups: ControlGroups | None = None) -> HostMemory:
    """The memory that this process and those beside it in its control group may have together."""
    groups = groups or ControlGroups()
    machine, limit, left = psutil.virtual_memory(), groups.limits().memory_bytes, groups.memory_available_bytes()
    total = machine.total if limit is None else min(machine.total, limit)
    return HostMemory(total, min(machine.available, total if left is None else left))


def tasks_max(groups: ControlGroups | None = None) -> int | None:
    """Threads that there may be: in the control group (systemd's TasksMax), else on the whole machine."""
    limits = (groups or ControlGroups()).limits()
    known = [limits.tasks, kernel_number("kernel/threads-max"), kernel_number("kernel/pid_max")]
    return min((n for n in known if n is not None), default=None)


def descriptor_limits() -> tuple[int | None, int | None]:
    """Open files that this process may have: now, and raised as far as it may. None: without a limit, or unknown."""
    try:
        import resource  # noqa: PLC0415  # not on every platform
    except ImportError:
        return None, None
    soft, hard = (
        None if n == resource.RLIM_INFINITY or n > NO_LIMIT else n for n in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    return soft, hard


def kernel_number(name: str, column: int = 0) -> int | None:
    """A number of /proc/sys; None where there is none."""
    return _number(Path("/proc/sys") / name, column)


def file_max() -> int | None:
    """Open files that the whole system may hold; None where it has no limit or does not say."""
    found = kernel_number("fs/file-max")
    # systemd sets it to the largest number there is.
    return None if found is None or found >= NO_LIMIT else found


def sockets() -> int | None:
    """Sockets in use on the machine; reading this line costs microseconds, listing connections costs milliseconds."""
    return _number(Path("/proc/net/sockstat"), 2)


def established_connections() -> int | None:
    """TCP connections of the machine that are up now; None where that may not be seen."""
    try:
        return sum(1 for found in psutil.net_connections("tcp") if found.status == psutil.CONN_ESTABLISHED)
    except (OSError, psutil.Error):
        return None


def network_bytes_per_second() -> float | None:
    """The speed of the slowest network card that is up; None where no card says."""
    cards = [card for name, card in psutil.net_if_stats().items() if name != "lo"]
    speeds = [card.speed for card in cards if card.isup and card.speed > 0]
    return min(speeds) * 1e6 / 8 if speeds else None


class CpuMeter:
    """How much of the cores that may be used is in use, by whomever, since the reading before.

    What is still to be had is the least of what each quota leaves and of what is idle on the allowed processors: a
    quota that is used up leaves nothing on an idle machine, and a busy machine leaves nothing of an unused quota.
    """

    def __init__(self, groups: ControlGroups) -> None:
        self._groups = groups
        self._cpus = affinity()
        self._at = time.monotonic()
        self._used = {group: used for group, (_, used) in groups.quotas().items()}
        self._ratio: float | None = None
        psutil.cpu_percent(percpu=True)

    def read(self, own_cores: float | None = None) -> float | None:
        """0 to 1; None where it cannot be told, as right after the start.

        Args:
            own_cores: what this server uses, for a group that does not count what it uses.
        """
        if time.monotonic() - self._at >= _SHORTEST_SECONDS:
            self._ratio = self._measured(own_cores)
        return self._ratio

    def _measured(self, own_cores: float | None) -> float | None:
        now, quotas = time.monotonic(), self._groups.quotas()
        seconds, self._at = now - self._at, now
        before, self._used = self._used, {group: used for group, (_, used) in quotas.items()}
        have = cores(self._groups)
        left = self._idle_cores(psutil.cpu_percent(percpu=True))
        for group, (allowed, used) in quotas.items():
            in_use = _rate(before.get(group), used, seconds)
            in_use = own_cores if in_use is None else in_use
            if in_use is None:
                return None
            left = min(left, allowed - in_use)
        return 1 - min(max(left / have, 0.0), 1.0)

    def _idle_cores(self, percents: Sequence[float]) -> float:
        """`percents` is in the order of /proc/stat, which in some containers numbers the processors anew."""
        numbered = all(cpu < len(percents) for cpu in self._cpus)
        mine = [percents[cpu] for cpu in self._cpus] if numbered else percents
        return sum(1 - percent / 100 for percent in mine)


def _rate(before: float | None, now: float | None, seconds: float) -> float | None:
    if before is None or now is None:
        return None
    used = counter_increase(before, now)
    return None if used is None else used / seconds


def _number(path: Path, column: int = 0) -> int | None:
    """A number in a file of /proc; None where there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(path.read_text("ascii").split()[column])
    return None
