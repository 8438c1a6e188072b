"""`--watch`: processes and control groups beside a load test, and what is said when they end before it does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from capacity.loadtest import container_watch, process_watch
from capacity.loadtest.process_watch import parse_watch, parse_watches
from tests.capacity.double import Faults, running_double
from tests.support.control_groups import limited
from whisper_ops.errors import UserError
from whisper_ops.telemetry import control_groups
from whisper_ops.telemetry.process_gpus import GpuUse, ProcessGpus


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group `app` as version 2 shows it."""
    monkeypatch.setattr(control_groups, "ROOT", tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "cpu.stat").write_text("usage_usec 5000000\nuser_usec 4000000\n")
    (tmp_path / "app" / "memory.current").write_text("1048576\n")
    return tmp_path


async def sampled(one: process_watch.ProcessWatch, count: int) -> None:
    async with asyncio.timeout(20):
        while len(one.rows) < count:  # noqa: ASYNC110  # a list has no event
            await asyncio.sleep(0.05)


async def test_a_process_that_ends_is_sampled_until_then_and_said() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220  # at once
    one = parse_watch(f"server={process.pid}")
    running = asyncio.create_task(one.run())
    await sampled(one, 1)
    before = one.complaint
    process.communicate()
    await asyncio.wait_for(running, 10)
    assert one.rows[0]["memory_bytes"] > 0
    assert before is None
    assert (one.complaint or "").startswith(f"--watch server: process {process.pid} ended after {len(one.rows)} sample")
    # Nor is it taken for there when the next level begins.
    await asyncio.wait_for(one.run(), 1)


async def test_a_control_group_that_vanishes_is_said(groups: Path) -> None:
    one = parse_watch("app=app")
    running = asyncio.create_task(one.run())
    await sampled(one, 1)
    assert one.rows[0]["memory_bytes"] == 1048576
    for name in ("cpu.stat", "memory.current"):
        (groups / "app" / name).unlink()
    (groups / "app").rmdir()
    await asyncio.wait_for(running, 10)
    assert "--watch app: control group" in (one.complaint or "")


async def test_a_real_control_group_is_watched_by_its_path() -> None:
    with limited(cores=1, memory=1 << 30, tasks=100) as inside:
        command = [*inside, sys.executable, "-c", "print(open('/proc/self/cgroup').read(), flush=True); input()"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220  # at once
            assert process.stdout is not None
            said = [line.split(":", 2) for line in iter(process.stdout.readline, "\n")]
            path = next(path for *_, path in said if "whisper-ops-test" in path).strip()
            one = parse_watch(f"box={path}")
            running = asyncio.create_task(one.run())
            await sampled(one, 1)
            running.cancel()
            process.communicate("\n")
    assert one.rows[0]["memory_bytes"] > 1 << 20
    assert one.rows[0]["cpu_ratio"] < 1


async def test_what_ended_before_the_first_level_is_said() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220  # at once
    one = parse_watch(f"server={process.pid}")
    process.communicate()
    await asyncio.wait_for(one.run(), 5)
    assert one.rows == []
    assert "ended before the first sample" in (one.complaint or "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("server", "write NAME=PID, NAME=CGROUP, NAME=podman:CONTAINER"),
        ("=5", "write NAME=PID, NAME=CGROUP, NAME=podman:CONTAINER"),
        ("server=gopher://host", "is no server address"),
        ("server=0", "there is no process 0"),
        ("server=99999999999999999999999", "there is no process 99999999999999999999999"),
        ("server=²", "there is no control group"),
        ("server=-5", "there is no control group"),
        ("server=none/such", "there is no control group"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(text: str, sentence: str, groups: Path) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        parse_watch(text)
    assert text.partition("=")[2] in str(caught.value)


ENGINE = """#!/bin/sh
# Answers `inspect --type container --format {{.State.Pid}} NAME` as podman 4.3 and Docker do.
for name; do :; done
case $name in
    there) cat "$(dirname "$0")/pid" ;;
    stopped) echo 0 ;;
    odd) echo '<no value>' ;;
    *) echo "Error: error inspecting object: no such container $name" >&2; exit 125 ;;
esac
"""


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the first process of the container `there`."""
    engine = tmp_path / "bin/podman"
    engine.parent.mkdir()
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:/usr/bin:/bin")
    return engine.with_name("pid")


def now_is(pid_file: Path, pid: int) -> None:
    pid_file.write_text(f"{pid}\n")


@contextmanager
def boxed() -> Iterator[subprocess.Popen[str]]:
    """A process in a control group of its own, as a container's first one is."""
    code = "import time; held = bytearray(8 << 20); print(flush=True); [sum(range(10_000)) for _ in iter(int, 1)]"
    with (
        limited(cores=1, memory=1 << 30, tasks=100) as inside,
        subprocess.Popen([*inside, sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


async def test_a_container_is_watched_by_its_name_and_goes_on_when_it_is_started_again(
    podman: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with boxed() as process:
        now_is(podman, process.pid)
        one = parse_watch("replica=podman:there")
        running = asyncio.create_task(one.run())
        await sampled(one, 2)
    assert one.rows[0]["memory_bytes"] > 8 << 20
    assert one.rows[0]["cpu_ratio"] > 0.05, "it counts without a pause"
    before = len(one.rows)
    with boxed() as process:
        now_is(podman, process.pid)
        await sampled(one, before + 2)
    assert "cpu_ratio" not in one.rows[before] or one.rows[before]["cpu_ratio"] >= 0
    now_is(podman, 0)
    monkeypatch.setattr(container_watch, "_TRIES", 1)
    await asyncio.wait_for(running, 20)
    assert (one.complaint or "").startswith(f"--watch replica: container there ended after {len(one.rows)} samples")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a=podman:gone", r"podman knows no container gone \(.*no such container gone\); `podman ps` lists them"),
        ("a=podman:stopped", "container stopped does not run; start it first"),
        ("a=podman:odd", "podman says no process of container odd, but '<no value>'"),
        ("a=podman:", "'' is no container's name"),
        ("a=podman:--all", "'--all' is no container's name"),
        ("a=podman:there", "the CPU and memory of the podman container there cannot be read.*NAME=URL"),
        ("a=docker:there", "docker is not installed here"),
    ],
)
def test_a_container_that_cannot_be_watched_is_one_sentence(
    text: str, sentence: str, podman: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_is(podman, 4194999)  # a process of another machine, as that of an engine in a virtual machine
    monkeypatch.setenv("PATH", str(podman.parent) if "docker" in text else os.environ["PATH"])
    with pytest.raises(UserError, match=sentence) as caught:
        parse_watch(text)
    assert str(caught.value).startswith(f"--watch '{text}'")
    assert "\n" not in str(caught.value)


async def test_a_count_of_processor_time_that_fell_is_unknown_and_not_zero(groups: Path) -> None:
    one = parse_watch("app=app")
    running = asyncio.create_task(one.run())
    await sampled(one, 1)
    (groups / "app" / "cpu.stat").write_text("usage_usec 1000\n")
    await sampled(one, 2)
    running.cancel()
    assert one.rows[0]["cpu_ratio"] == 0
    assert "cpu_ratio" not in one.rows[1]


async def test_cached_files_that_nobody_works_with_are_no_memory_of_a_group(groups: Path) -> None:
    (groups / "app" / "memory.stat").write_text("anon 1000\ninactive_file 1000000\n")
    one = parse_watch("app=app")
    running = asyncio.create_task(one.run())
    await sampled(one, 1)
    running.cancel()
    assert one.rows[0]["memory_bytes"] == 1048576 - 1000000


def test_two_of_one_name_would_hide_each_other() -> None:
    me = f"server={os.getpid()}"
    assert [one.name for one in parse_watches([me, f"other={os.getpid()}"])] == ["server", "other"]
    with pytest.raises(UserError, match="the name server is given already"):
        parse_watches([me, me])


def library(fault: int | None = None) -> SimpleNamespace:
    """NVML with two GPUs, on which process 7 is busy, and a driver that says `fault` for what it does not offer."""
    running = [SimpleNamespace(pid=7, usedGpuMemory=int(1e9)), SimpleNamespace(pid=8, usedGpuMemory=int(3e9))]
    busy = [SimpleNamespace(pid=7, smUtil=40), SimpleNamespace(pid=7, smUtil=60), SimpleNamespace(pid=8, smUtil=30)]

    def utilisation(handle: int, _since: int) -> list[SimpleNamespace]:
        if fault is not None:
            error = RuntimeError("NVML")
            error.value = fault  # type: ignore[attr-defined]  # as pynvml's errors have
            raise error
        return busy if handle == 0 else busy[:1]

    return SimpleNamespace(
        NVML_ERROR_NOT_FOUND=6,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=lambda _handle: running,
        nvmlDeviceGetProcessUtilization=utilisation,
    )


def test_what_a_replica_uses_of_the_gpus_is_told_apart_from_what_others_use() -> None:
    assert ProcessGpus(library()).read({7}) == GpuUse(1.0, 2e9)
    assert ProcessGpus(library(fault=6)).read({7}) == GpuUse(0.0, 2e9)
    assert ProcessGpus(library(fault=3)).read({7}) == GpuUse(None, 2e9)
    assert ProcessGpus(object()).read({7}) == GpuUse(None, None)


async def test_a_replica_is_watched_by_its_own_address_and_said_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_watch, "_TRIES", 1)
    async with running_double(Faults(token="secret")) as double:
        one = parse_watch(f"replica={double.url}", "secret")
        running = asyncio.create_task(one.run())
        await sampled(one, 1)
    await asyncio.wait_for(running, 20)
    assert one.rows[0]["memory_bytes"] == 2e9
    assert one.rows[0]["cpu_ratio"] == 0.5
    assert f"replica: {double.url} ended after" in (one.complaint or "")
