"""What the control groups around a process let it have, as a container, a systemd unit or a batch system sets them.

Version 2 has one tree for all controllers, version 1 a tree for each, and a machine may have both. The limit of a group
holds for all groups below it, so what counts is the tightest from a process' own group up to the topmost that is seen.
"""

import errno
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
NO_LIMIT = 2**60
"""Version 1 writes 9223372036854771712 for a memory without limit; no machine has so much of anything."""
_PROCESSORS = 1 << 16
"""They are numbered below this; a list that names more was not written by a kernel."""


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
        return _text(self.top / self.path / name)

    def amount(self, name: str) -> int | None:
        """A number of it; None where it limits nothing."""
        return _amount(self.text(name))

    def counted(self, name: str, line: str) -> int | None:
        """A number of a file that has a name on each line."""
        lines = (found.partition(" ") for found in self.text(name).splitlines())
        return next((_amount(value) for named, _, value in lines if named == line), None)

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
        named = list(_named(_text(root / "proc" / process / "cgroup")))
        mounts = list(_mounts(_text(root / "proc/self/mountinfo")))
        self._groups = {
            name: tuple(_groups(root, name, named, mounts, exact=process != "self"))
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
            lines = (_amount(line) for line in group.text("cgroup.procs").splitlines())
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
            microseconds, each = _amount(quota), _amount(period)
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
            own = _numbers(group.text(effective)) or _numbers(group.text("cpuset.cpus"))
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


class _Named(NamedTuple):
    version: int
    controllers: frozenset[str]
    """Version 2 names none."""
    path: PurePosixPath


def _named(text: str) -> Iterator[_Named]:
    """/proc/PID/cgroup: the groups of a process."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, sign, path = rest.partition(":")
        if sign and path.startswith("/"):
            version = 2 if number == "0" and not controllers else 1
            yield _Named(version, frozenset(controllers.split(",")), PurePosixPath(path))


class _Mount(NamedTuple):
    version: int
    point: str
    top: PurePosixPath
    """The group that is mounted there: in a container often not the topmost."""
    controllers: frozenset[str]


def _mounts(text: str) -> Iterator[_Mount]:
    """/proc/self/mountinfo: where control groups can be read."""
    for line in text.splitlines():
        before, sign, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not sign or len(fields) < 5 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        yield _Mount(
            version=2 if kind[0] == "cgroup2" else 1,
            point=_unescaped(fields[4]),
            top=PurePosixPath(_unescaped(fields[3])),
            controllers=frozenset(kind[-1].split(",")),
        )


def _unescaped(path: str) -> str:
    r"""The kernel writes a blank as \040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _groups(root: Path, controller: str, named: list[_Named], mounts: list[_Mount], *, exact: bool) -> Iterator[Group]:
    """Of one controller, in each version that the machine has: the process' own group, and on to the topmost.

    `exact`: only where the own group is seen itself. Of another process the nearest one that is seen would be ours.
    """
    for version, controllers, path in named:
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


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return ""
    except ValueError:  # a path that cannot be one
        return ""


def _amount(text: str) -> int | None:
    """A number that limits or counts something; None of `max`, -1, one that is no limit, and of what is no number."""
    text = text.strip()
    if not text.isdecimal() or len(text) > 20:
        return None
    return value if (value := int(text)) < NO_LIMIT else None


def _numbers(text: str) -> frozenset[int]:
    """A list as `0-3,8`; empty where it is none."""
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        first, last = _amount(low), _amount(high if dash else low)
        if first is None or last is None or not first <= last < _PROCESSORS:
            return frozenset()
        found.update(range(first, last + 1))
    return frozenset(found)
