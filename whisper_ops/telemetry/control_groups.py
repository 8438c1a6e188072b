"""What the control groups around a process let it have, as a container, a systemd unit or a batch system sets them.

Version 2 has one tree for all controllers, version 1 a tree for each, and a machine may have both. The limit of a group
holds for all groups below it, so what counts is the tightest from a process' own group up to the topmost that is seen.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from whisper_ops.telemetry.control_group_files import (
    GroupMembership,
    GroupMount,
    amount_of,
    memberships,
    mounts_of,
    numbers_of,
    text_of,
)

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class GroupLimits:
    """The tightest limits; None: there is no such limit."""

    cpu_cores: float | None = None
    """What a quota allows, in cores: 1.5 is 150 ms of processor time each 100 ms."""
    cpus: frozenset[int] | None = None
    """The processors that may be used, by number."""
    memory_bytes: int | None = None
    tasks: int | None = None


@dataclass(frozen=True)
class Group:
    """One control group: its path in a tree that is mounted at `top`."""

    version: int
    top: Path
    path: PurePosixPath

    def text(self, name: str) -> str:
        """A file of it; empty where there is none."""
        return text_of(self.top / self.path / name)

    def amount(self, name: str) -> int | None:
        """A number of it; None where it limits nothing."""
        return amount_of(self.text(name))

    def counted(self, name: str, line: str) -> int | None:
        """A number of a file that has a name on each line."""
        lines = (found.partition(" ") for found in self.text(name).splitlines())
        return next((amount_of(value) for named, _, value in lines if named == line), None)

    def seconds(self) -> float | None:
        """Processor time used so far by it and those below; in version 1 only where processor time is counted."""
        if self.version == 2:
            microseconds = self.counted("cpu.stat", "usage_usec")
            return None if microseconds is None else microseconds / 1e6
        nanoseconds = self.amount("cpuacct.usage")
        return None if nanoseconds is None else nanoseconds / 1e9

    def held(self) -> int | None:
        """Memory in bytes that it cannot do without: cached files that nobody works with are given back."""
        two = self.version == 2
        used = self.amount("memory.current" if two else "memory.usage_in_bytes")
        if used is None:
            return None
        cached = self.counted("memory.stat", "inactive_file" if two else "total_inactive_file")
        return max(0, used - (cached or 0))


class ControlGroups:
    """The groups of one process. Where they are is found once; what they allow and use is read at each call.

    A file that is missing or says nonsense is no limit. Only a lack of descriptors is raised, as `OSError`: then
    nothing is known.
    """

    def __init__(self, root: Path = Path("/"), process: str = "self") -> None:
        """`root`: where /proc and /sys/fs/cgroup are found; another one is a recording."""
        own = list(memberships(text_of(root / "proc" / process / "cgroup")))
        mounts = list(mounts_of(text_of(root / "proc/self/mountinfo")))
        self._groups = {
            name: tuple(_groups(root, name, own, mounts, exact=process != "self"))
            for name in ("cpu", "cpuacct", "cpuset", "memory", "pids")
        }

    def limits(self) -> GroupLimits:
        quotas = [cores for _, cores in self._quotas()]
        memory = [limit for _, limit in self._memory_limits()]
        tasks = [limit for group in self._groups["pids"] if (limit := group.amount("pids.max")) is not None]
        return GroupLimits(min(quotas, default=None), self._cpus(), min(memory, default=None), min(tasks, default=None))

    def quotas(self) -> dict[Group, tuple[float, float | None]]:
        """Of each group with a quota: its cores, and the processor seconds that it used so far, None where unknown."""
        return {group: (cores, self._used_seconds(group)) for group, cores in self._quotas()}

    def memory_available_bytes(self) -> int | None:
        """What may still be taken before a limit; None: none has a limit and tells what it uses.

        Cached files that nobody works with are given back when memory is needed, as `free` counts them too.
        """
        left = []
        for group, limit in self._memory_limits():
            held = group.held()
            if held is not None:
                left.append(max(0, limit - held))
        return min(left, default=None)

    def use(self) -> "GroupUse | tuple[str, ...]":
        """What the process' own group and those below it use; else the names of what cannot be read of it."""
        held = _first(group.held() for group in self._own("memory"))
        used = _first(group.seconds() for group in (*self._own("cpu"), *self._own("cpuacct")))
        if held is None or used is None:
            known = {"CPU": used, "memory": held}
            return tuple(name for name, value in known.items() if value is None)
        return GroupUse(used, float(held))

    def processes(self) -> frozenset[int]:
        """The processes of the process' own group, as far as they can be seen from here."""
        for group in (*self._own("memory"), *self._own("cpu")):
            lines = (amount_of(line) for line in group.text("cgroup.procs").splitlines())
            if found := frozenset(pid for pid in lines if pid):
                return found
        return frozenset()

    def _own(self, controller: str) -> list[Group]:
        """The process' own group in each tree of a controller; none where that tree does not show it."""
        groups = self._groups[controller]
        return [group for version in (2, 1) for group in [g for g in groups if g.version == version][:1]]

    def _quotas(self) -> Iterator[tuple[Group, float]]:
        for group in self._groups["cpu"]:
            if group.version == 2:
                quota, _, period = group.text("cpu.max").partition(" ")
            else:
                quota, period = group.text("cpu.cfs_quota_us"), group.text("cpu.cfs_period_us")
            microseconds, each = amount_of(quota), amount_of(period)
            if microseconds and each:
                yield group, microseconds / each

    def _memory_limits(self) -> Iterator[tuple[Group, int]]:
        for group in self._groups["memory"]:
            limit = group.amount("memory.max" if group.version == 2 else "memory.limit_in_bytes")
            if limit is not None:
                yield group, limit

    def _cpus(self) -> frozenset[int] | None:
        allowed: frozenset[int] | None = None
        for group in reversed(self._groups["cpuset"]):
            effective = "cpuset.cpus.effective" if group.version == 2 else "cpuset.effective_cpus"
            own = numbers_of(group.text(effective)) or numbers_of(group.text("cpuset.cpus"))
            # A group that names none, or none of those around it, has what is around it.
            allowed = (own & allowed if allowed else own) or allowed
        return allowed

    def _used_seconds(self, group: Group) -> float | None:
        if group.version == 2:
            return group.seconds()
        # Version 1 counts in a tree of its own, which on most machines has the same groups.
        for counting in self._groups["cpuacct"]:
            if counting.version == 1 and counting.path == group.path:
                return counting.seconds()
        return None


class GroupUse(NamedTuple):
    """What a group and those below it use."""

    cpu_seconds: float
    """So far."""
    memory_bytes: float
    """Without cached files that nobody works with, as `docker stats` and Kubernetes count too."""


def group_use(path: str, root: Path = ROOT) -> GroupUse | None:
    """What the group of this path uses, whichever version counts it; None where there is no such group.

    Version 1 counts processor time and memory in trees of their own; a container has the same path in each.
    """
    below = PurePosixPath(path.strip("/"))
    for top in (root, root / "unified"):
        group = Group(2, top, below)
        seconds, held = group.seconds(), group.held()
        if seconds is not None and held is not None:
            return GroupUse(seconds, float(held))
    held = Group(1, root / "memory", below).held()
    used = _first(Group(1, root / tree, below).seconds() for tree in ("cpuacct", "cpu,cpuacct"))
    return None if held is None or used is None else GroupUse(used, float(held))


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def _groups(
    root: Path, controller: str, own: list[GroupMembership], mounts: list[GroupMount], *, exact: bool
) -> Iterator[Group]:
    """Of one controller, in each version that the machine has: the process' own group, and on to the topmost.

    `exact`: only where the own group is seen itself. Of another process the nearest one that is seen would be ours.
    """
    for version, controllers, path in own:
        if version == 1 and controller not in controllers:
            continue
        holds = [mount for mount in mounts if mount.version == version]
        if version == 1:
            holds = [mount for mount in holds if controller in mount.controllers]
        for mount in holds[:1]:
            below = _below(mount.top, path)
            if below is None and exact:
                continue
            below = below or PurePosixPath()
            top = root / mount.point.lstrip("/")
            yield from (Group(version, top, group) for group in (below, *below.parents))


def _below(top: PurePosixPath, path: PurePosixPath) -> PurePosixPath | None:
    """The part of a group's path below what is mounted; None: in a namespace of its own, what is mounted is ours."""
    if ".." in path.parts or ".." in top.parts or not path.is_relative_to(top):
        return None
    return path.relative_to(top)
