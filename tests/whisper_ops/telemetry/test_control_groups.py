"""What control groups allow: over generated trees of both versions, and in real groups of this machine."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.control_groups import limited
from tests.support.servers import running_server
from whisper_ops.telemetry import host
from whisper_ops.telemetry.control_group_files import NO_LIMIT
from whisper_ops.telemetry.control_groups import ControlGroups, GroupLimits

NO_MEMORY_LIMIT = "9223372036854771712"
UNLIMITED = {1: ["-1", NO_MEMORY_LIMIT, "max", "", "nonsense", None], 2: ["max", "", "nonsense", "-1", None]}


@dataclass
class Level:
    """One group of a generated tree; None: it sets no limit."""

    cores: float | None = None
    memory: int | None = None
    tasks: int | None = None
    cpus: frozenset[int] | None = None
    files: dict[str, str] = field(default_factory=dict)


@st.composite
def levels(draw: st.DrawFn, version: int) -> Level:
    """A group and its files, with all the ways of saying that there is no limit."""
    made, files = Level(), dict[str, str | None]()
    none = st.sampled_from(UNLIMITED[version])
    period = draw(st.sampled_from([1_000, 100_000, 250_000]))
    quota = draw(st.none() | st.integers(1_000, 6_400_000))
    words = draw(none) if quota is None else str(quota)
    made.cores = None if quota is None else quota / period
    if version == 2:
        files["cpu.max"] = f"{words} {period}\n" if words is not None else None
        if words == "max" and draw(st.booleans()):
            files["cpu.max"] = "max\n"
    else:
        files["cpu.cfs_quota_us"] = words
        files["cpu.cfs_period_us"] = f"{period}\n"
    made.memory = draw(st.none() | st.integers(1 << 20, 1 << 44))
    files["memory.max" if version == 2 else "memory.limit_in_bytes"] = (
        draw(none) if made.memory is None else f"{made.memory}\n"
    )
    made.tasks = draw(st.none() | st.integers(1, 1 << 22))
    files["pids.max"] = draw(none) if made.tasks is None else str(made.tasks)
    made.files = {name: text for name, text in files.items() if text is not None}
    if draw(st.booleans()):
        made.cpus = frozenset(draw(st.sets(st.integers(0, 80), min_size=1, max_size=12)))
        name = (
            "cpuset.cpus.effective" if version == 2 else draw(st.sampled_from(["cpuset.effective_cpus", "cpuset.cpus"]))
        )
        made.files[name] = as_list(made.cpus) + "\n"
    elif draw(st.booleans()):
        made.files["cpuset.cpus"] = "\n"
    return made


def as_list(cpus: frozenset[int]) -> str:
    """As the kernel writes it: `0-3,8`."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][-1] == cpu - 1:
            parts[-1][1:] = [cpu]
        else:
            parts.append([cpu])
    return ",".join("-".join(map(str, part)) for part in parts)


@dataclass
class Tree:
    """A generated hierarchy: its groups from the topmost to the process' own, and from which on it is mounted."""

    version: int
    lineage: list[Level]
    mounted_from: int
    """0: the whole tree; else a container's view, that begins with a group in the middle."""
    namespaced: bool
    """The process sees its paths from the mounted group on, as in a namespace of control groups."""


@st.composite
def trees(draw: st.DrawFn) -> list[Tree]:
    """A machine of version 1, of version 2, or of both."""
    kinds = draw(st.sampled_from([[1], [2], [1, 2]]))
    found = []
    for version in kinds:
        lineage = [Level(), *draw(st.lists(levels(version), max_size=4))]
        mounted_from = draw(st.integers(0, len(lineage) - 1))
        found.append(Tree(version, lineage, mounted_from, draw(st.booleans())))
    return found


def written(root: Path, machine: list[Tree]) -> None:
    """Lay the files out as the kernel shows them."""
    groups, mounts = [], ["31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755"]
    for tree in machine:
        names = [f"g {i}" for i in range(1, len(tree.lineage))]
        top, inside = names[: tree.mounted_from], names[tree.mounted_from :]
        path = "/" + "/".join(inside if tree.namespaced else names)
        seen_from = "/" if tree.namespaced else "/" + "/".join(top)
        if tree.version == 2:
            points = {"": "sys/fs/cgroup/unified" if len(machine) > 1 else "sys/fs/cgroup"}
        else:
            points = {"cpu,cpuacct": "sys/fs/cgroup/cpu,cpuacct"} | {
                n: f"sys/fs/cgroup/{n}" for n in ("cpuset", "memory", "pids")
            }
        for number, (controllers, point) in enumerate(points.items()):
            groups.append(f"{0 if tree.version == 2 else number + 1}:{controllers}:{path}")
            kind = "cgroup2 cgroup2 rw,nsdelegate" if tree.version == 2 else f"cgroup cgroup rw,{controllers}"
            mounts.append(
                f"{40 + number} 31 0:{number} {seen_from} /{point} rw shared:9 - {kind}".replace("g ", "g\\040")
            )
            folder = root / point
            for level, name in zip(tree.lineage[tree.mounted_from :], ["", *inside], strict=True):
                folder /= name
                folder.mkdir(parents=True, exist_ok=True)
                for file, text in level.files.items():
                    (folder / file).write_text(text)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("\n".join(groups) + "\n")
    (root / "proc/self/mountinfo").write_text("\n".join(mounts) + "\n")


def least(values: list[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


@given(trees())
@settings(deadline=None, max_examples=150)
def test_the_tightest_group_that_is_seen_counts(machine: list[Tree]) -> None:
    seen = [level for tree in machine for level in tree.lineage[tree.mounted_from :]]
    with TemporaryDirectory() as folder:
        written(Path(folder), machine)
        found = ControlGroups(Path(folder)).limits()
    assert found.cpu_cores == least([level.cores for level in seen])
    assert found.memory_bytes == least([level.memory for level in seen])
    assert found.tasks == least([level.tasks for level in seen])
    named = [level.cpus for level in seen if level.cpus]
    if not named:
        assert found.cpus is None
    else:
        assert found.cpus
        assert any(found.cpus <= cpus for cpus in named)
        if together := frozenset.intersection(*named):
            assert found.cpus == together


@pytest.mark.parametrize("text", ["", "0-", "-3", "3-1", "a", "0,,2", "0-99999999999", "9" * 40, "0-3,x"])
def test_a_list_of_processors_that_is_none_limits_nothing(tmp_path: Path, text: str) -> None:
    written(tmp_path, [Tree(2, [Level(), Level(files={"cpuset.cpus.effective": text})], 0, False)])  # as named
    assert ControlGroups(tmp_path).limits() == GroupLimits()


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert ControlGroups(tmp_path).limits() == GroupLimits()
    assert ControlGroups(tmp_path).memory_available_bytes() is None


def recorded(tmp_path: Path, **files: str) -> ControlGroups:
    """A pod of version 2 with a container in it, seen from inside without a namespace."""
    pod = {name.removeprefix("pod_"): text for name, text in files.items() if name.startswith("pod_")}
    own = {name: text for name, text in files.items() if not name.startswith("pod_")}
    named = [Level(files={name.replace("__", "."): text for name, text in level.items()}) for level in (pod, own)]
    written(tmp_path, [Tree(2, [Level(), *named], 0, False)])  # as named
    return ControlGroups(tmp_path)


def test_a_quota_of_a_pod_leaves_part_of_the_machine(tmp_path: Path) -> None:
    here = len(host.affinity())
    groups = recorded(tmp_path, pod_cpu__max="50000 100000", cpu__max="max 100000", memory__max="max")
    assert (host.cores(groups), host.whole_cores(groups)) == (0.5, 1)
    assert host.memory(groups).total == psutil.virtual_memory().total
    more = recorded(tmp_path / "more", cpu__max=f"{(here + 3) * 1000} 1000", memory__max=str(NO_LIMIT - 1))
    assert host.cores(more) == here, "a quota over the machine adds nothing to it"
    assert host.memory(more).total == psutil.virtual_memory().total


def test_memory_that_is_free_is_what_the_tightest_limit_leaves_and_caches_are_given_back(tmp_path: Path) -> None:
    mb = 1 << 20
    groups = recorded(
        tmp_path,
        pod_memory__max=str(100 * mb),
        pod_memory__current=str(90 * mb),
        pod_memory__stat=f"anon 1\ninactive_file {20 * mb}\nactive_file 5",
        memory__max=str(200 * mb),
        memory__current=str(30 * mb),
    )
    assert host.memory(groups) == (100 * mb, 30 * mb)
    assert groups.quotas() == {}


def test_a_lack_of_descriptors_is_no_absence_of_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = recorded(tmp_path, cpu__max="50000 100000")

    def broken(*_: object, **__: object) -> str:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Path, "read_text", broken)
    with pytest.raises(OSError, match="Too many open files"):
        groups.limits()


def test_serve_and_doctor_say_the_same_inside_a_real_group(tmp_path: Path) -> None:
    memory, tasks = 700 << 20, 333
    with limited(cores=1.5, memory=memory, tasks=tasks) as inside:
        with running_server(tmp_path, "--engine", "simulated", "--devices", "sim:1", before=inside) as server:
            said = server.get("/snapshot")["host"]
        command = [*inside, sys.executable, "-m", "whisper_ops", "doctor", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        doctor = json.loads(done.stdout)["host"]
    names = ("cpu_count", "memory_total_bytes", "tasks_max")
    assert [said[name] for name in names] == [doctor[name] for name in names]
    assert [said[name] for name in names] == [min(1.5, len(os.sched_getaffinity(0))), memory, tasks]
    assert 0 < said["memory_available_bytes"] < memory
    assert 0 < doctor["memory_available_bytes"] < memory


BUSY = """
import time
from server.devices import parse
from server.sessions.worker_supervisor import lanes
from server.settings import Settings
from whisper_ops.telemetry.host_meter import HostMeter
meter, end = HostMeter(), time.monotonic() + 1.5
while time.monotonic() < end:
    pass
print(meter.read(()).cpu_ratio, lanes(Settings(devices=parse("cpu"), model="m")))
"""


def test_a_quota_that_is_used_up_is_a_busy_host_and_gives_one_thread() -> None:
    with limited(cores=0.5, memory=1 << 30, tasks=500) as inside:
        done = subprocess.run(
            [*inside, sys.executable, "-c", BUSY], capture_output=True, text=True, check=True, timeout=60
        )
    ratio, threads = done.stdout.split()
    assert float(ratio) > 0.8, "half a core of a machine that has more is all there is"
    assert threads == "1"
