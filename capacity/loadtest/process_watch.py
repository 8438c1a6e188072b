"""`--watch NAME=PID|CGROUP|CONTAINER|URL`: what a replica or a balancer uses while levels run.

A process with its children, a container, or a control group: its CPU and memory, and of processes and containers what
they use of the GPUs. A replica's own address: what its `/snapshot` says of all of these. For servers without endpoints
of their own, for each replica of a service, and for the balancer before them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import psutil

from capacity.loadtest.container_watch import ENGINES, ContainerWatch
from capacity.loadtest.process_usage import GpuReader, ProcessUsage
from capacity.loadtest.target import Target, parse_target, poll_once, source_for
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.source import Source
from whisper_ops.telemetry import control_groups
from whisper_ops.telemetry.process_gpus import GpuUse

_TRIES = 5
"""Polls that a busy server may miss."""


class ProcessWatch:
    """One thing that is watched.

    `rows` holds a sample a second: at (UTC epoch), cpu_ratio (cores), memory_bytes, and where they are known gpu_ratio
    (GPUs) and gpu_memory_bytes.
    """

    def __init__(
        self,
        name: str,
        what: str,
        read: Callable[[], Awaitable[ProcessUsage | None]],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self.rows: list[dict[str, float]] = []
        self._what = what
        self._read = read
        self._close = close
        self._ended = False

    @property
    def complaint(self) -> str | None:
        """What to say when it ended before the levels did; else None."""
        if not self._ended:
            return None
        count = len(self.rows)
        samples = counted(count, "sample") if count else "the first sample"
        when = "after" if count else "before"
        return f"--watch {self.name}: {self._what} ended {when} {samples}, and no later level has its CPU and memory"

    async def run(self) -> None:
        """Sample once a second until cancelled; what ended is no longer sampled."""
        try:
            last, then = await self._read(), time.monotonic()
            while last is not None:
                await asyncio.sleep(1)
                reading, now = await self._read(), time.monotonic()
                if reading is not None:
                    self.rows.append(_row(last, reading, now - then))
                last, then = reading, now
            self._ended = True
        finally:
            if self._close is not None:
                await self._close()


def _row(last: ProcessUsage, reading: ProcessUsage, seconds: float) -> dict[str, float]:
    cpu = reading.cpu_ratio
    # A count that fell belongs to others: a child that ended took its time along, a container was started again.
    if last.cpu_seconds is not None and reading.cpu_seconds is not None and reading.cpu_seconds >= last.cpu_seconds:
        cpu = (reading.cpu_seconds - last.cpu_seconds) / seconds
    known = {
        "cpu_ratio": cpu,
        "memory_bytes": reading.memory_bytes,
        "gpu_ratio": reading.gpu.ratio,
        "gpu_memory_bytes": reading.gpu.memory_bytes,
    }
    return {"at": time.time(), **{name: value for name, value in known.items() if value is not None}}


def parse_watches(texts: Sequence[str], token: str | None = None) -> tuple[ProcessWatch, ...]:
    """Read every `--watch`; `token` is for replicas that are asked.

    Raises:
        UserError: one cannot be read, or two have the same name.
    """
    found: dict[str, ProcessWatch] = {}
    for text in texts:
        watch = parse_watch(text, token)
        if watch.name in found:
            raise UserError(f"--watch {text!r}: the name {watch.name} is given already; give each a name of its own")
        found[watch.name] = watch
    return tuple(found.values())


def parse_watch(text: str, token: str | None = None) -> ProcessWatch:
    """Read what to watch.

    `NAME=PID`, `NAME=CGROUP` (a path below /sys/fs/cgroup), `NAME=podman:CONTAINER`, `NAME=docker:CONTAINER` or
    `NAME=URL`, a replica's own address.

    Raises:
        UserError: it is none of them, or there is no such process, group or container.
    """
    name, sign, what = text.partition("=")
    if not sign or not name or not what:
        raise UserError(
            f"cannot read --watch {text!r}; write NAME=PID, NAME=CGROUP, NAME=podman:CONTAINER, NAME=docker:CONTAINER"
            " or NAME=URL"
        )
    if "://" in what:
        replica = _Replica(parse_target(what, token=token))
        return ProcessWatch(name, what, replica.read, replica.close)
    engine, colon, container = what.partition(":")
    if colon and engine in ENGINES:
        try:
            found = ContainerWatch(engine, container)
        except UserError as error:
            raise UserError(f"--watch {text!r}: {error}", error.code) from error
        return ProcessWatch(name, found.what, found.read)
    if what.isascii() and what.isdigit():
        process = _process(int(what))
        if process is None or _family(process) is None:
            raise UserError(
                f"--watch {text!r}: there is no process {what}, or it has ended; give the id of a running one"
            )
        return ProcessWatch(name, f"process {what}", _Process(process).read)
    group = what.removeprefix(str(control_groups.ROOT)).strip("/")
    if _group(group) is None:
        raise UserError(f"--watch {text!r}: there is no control group {group} that tells its processor time and memory")

    async def read() -> ProcessUsage | None:
        return _group(group)

    return ProcessWatch(name, f"control group {group}", read)


class _Process:
    """A process with its children, and what they use of the GPUs, read beside the levels."""

    def __init__(self, parent: psutil.Process) -> None:
        self._parent = parent
        self._gpus = GpuReader()

    async def read(self) -> ProcessUsage | None:
        family = _family(self._parent)
        if family is None:
            return None
        pids, reading = family
        return reading._replace(gpu=await self._gpus.read(pids))


class _Replica:
    """A server that is asked for its own figures. One that does not answer, several times in a row, has ended."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._source: Source | None = None

    async def read(self) -> ProcessUsage | None:
        if self._source is None:
            self._source = source_for(self._target)
        for _ in range(_TRIES):
            if (reading := _said(await poll_once(self._source))) is not None:
                return reading
            await asyncio.sleep(1)
        return None

    async def close(self) -> None:
        if self._source is not None:
            await self._source.close()
        self._source = None


def _said(snapshot: Snapshot) -> ProcessUsage | None:
    host = snapshot.host
    if host is None or host.process_rss_bytes is None:
        return None
    ratios = [gpu.gpu_ratio for gpu in snapshot.gpus if gpu.gpu_ratio is not None]
    held = [gpu.memory_used_bytes for gpu in snapshot.gpus if gpu.memory_used_bytes is not None and gpu.uuid]
    use = GpuUse(sum(ratios) if ratios else None, sum(held) if held else None)
    return ProcessUsage(None, host.process_rss_bytes, use, host.process_cpu_ratio)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except (psutil.Error, OverflowError):
        return None


def _family(parent: psutil.Process) -> tuple[set[int], ProcessUsage] | None:
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
    return ({process.pid for process in family}, ProcessUsage(cpu, memory)) if memory else None


def _group(path: str) -> ProcessUsage | None:
    use = control_groups.group_use(path, control_groups.ROOT)
    return None if use is None else ProcessUsage(use.cpu_seconds, use.memory_bytes)
