"""What the server says about itself while a level runs: `/snapshot` once a second, boiled down to a level's columns."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import msgspec

from capacity.loadtest.other_load import other_share
from capacity.loadtest.responding_servers import by_server
from capacity.loadtest.target import Target, open_source, poll_once
from whisper_ops.histogram import quantile
from whisper_ops.history import LevelRecord
from whisper_ops.snapshot import GpuFigures, HostFigures, Snapshot

_ENGINE_SECONDS = 10.0
"""A server says how busy its engine was, and how full its batches, over so long (`server.sessions.engine_stats`)."""


class LevelSamples(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a level that come from the server; means over the window, None where it does not say."""

    server_lag_p95_seconds: float | None = None
    server_busy_ratio: float | None = None
    server_gpu_ratio: float | None = None
    server_batch_fill: float | None = None
    server_compute_p95_seconds: float | None = None
    server_queue_p95_seconds: float | None = None
    gpu_memory_used_bytes: float | None = None
    streams_per_gpu: float | None = None
    host_cpu_ratio: float | None = None
    host_memory_used_bytes: float | None = None
    server_rss_bytes: float | None = None
    server_cpu_ratio: float | None = None
    front_cpu_ratio: float | None = None
    other_cpu_ratio: float | None = None
    """The share of the host's processor time that neither the server nor the load test took."""
    server_descriptors: float | None = None
    gpu_spread: int | None = None


class Sampler:
    """Polls a server until told to stop. Use as a task: `asyncio.create_task(sampler.run())`.

    Times are of the monotonic clock: the wall clock may jump while a level runs.
    """

    def __init__(self, target: Target, every_seconds: float = 1.0) -> None:
        self._target = target
        self._every = every_seconds
        self._polled: list[tuple[float, Snapshot]] = []

    async def run(self) -> None:
        """Poll until cancelled; a poll that fails leaves a silent snapshot, and the next follows."""
        async with open_source(self._target) as source:
            while True:
                at = time.monotonic()
                self._polled.append((at, await poll_once(source)))
                await asyncio.sleep(self._every)

    @property
    def latest(self) -> Snapshot | None:
        """The last poll's, answered or not."""
        return self._polled[-1][1] if self._polled else None

    def forget(self, before: float) -> None:
        """Drop polls before a time: hours of them would fill memory."""
        self._polled = [(at, snapshot) for at, snapshot in self._polled if at >= before]

    def between(self, since: float, until: float) -> list[Snapshot]:
        """The answered polls of a time."""
        return [snapshot for at, snapshot in self._polled if snapshot.state == "live" and since <= at < until]


def level_samples(snapshots: Sequence[Snapshot], own_cores: float = 0.0) -> LevelSamples:
    """One level's readings from the polls of its window; `own_cores` is what the load test took meanwhile."""
    if not snapshots:
        return LevelSamples()
    gpus = [gpu for snapshot in snapshots for gpu in snapshot.gpus]
    hosts = [snapshot.host for snapshot in snapshots if snapshot.host is not None]
    fullest = max((g for g in gpus if g.memory_used_bytes is not None), key=_memory, default=None)

    def gpu(read: Callable[[GpuFigures], float | None]) -> float | None:
        return _mean(read(g) for g in gpus)

    def host(read: Callable[[HostFigures], float | None]) -> float | None:
        return _mean(read(h) for h in hosts)

    def engine(read: Callable[[GpuFigures], float | None]) -> float | None:
        return _mean(read(g) for snapshot in _of_this_level(snapshots) for g in snapshot.gpus)

    one_server = len(by_server(snapshots)) == 1  # a GPU of another server is not in the same answer
    polled = snapshots if one_server else ()
    spreads = [max(busy) - min(busy) for s in polled if (busy := [g.streams_active or 0 for g in s.gpus])]
    return LevelSamples(
        server_lag_p95_seconds=_lag(snapshots),
        server_busy_ratio=engine(lambda g: g.busy_ratio),
        server_gpu_ratio=gpu(lambda g: g.gpu_ratio),
        server_batch_fill=engine(lambda g: g.batch_fill_mean),
        server_compute_p95_seconds=_p95(
            (s.compute_bucket_counts for s in snapshots), gpu(lambda g: g.compute_p95_seconds)
        ),
        server_queue_p95_seconds=_p95(
            (s.queue_wait_bucket_counts for s in snapshots), gpu(lambda g: g.queue_wait_p95_seconds)
        ),
        gpu_memory_used_bytes=fullest.memory_used_bytes if fullest else None,
        streams_per_gpu=fullest.streams_active if fullest else None,
        host_cpu_ratio=host(lambda h: h.cpu_ratio),
        host_memory_used_bytes=host(_host_memory_used),
        server_rss_bytes=host(lambda h: h.process_rss_bytes),
        server_cpu_ratio=host(lambda h: h.process_cpu_ratio),
        front_cpu_ratio=host(lambda h: h.front_cpu_ratio),
        other_cpu_ratio=other_share(snapshots, own_cores),
        server_descriptors=host(lambda h: h.open_descriptors),
        gpu_spread=sorted(spreads)[len(spreads) // 2] if spreads else None,
    )


def busy_share(level: LevelRecord) -> float | None:
    """How much of what a server has its level took, 0 to 1: of its engine, its machine or its own core, the fullest.

    What other programs took of the machine is not the level's. None where the server says nothing of these.
    """
    machine = None if level.host_cpu_ratio is None else level.host_cpu_ratio - (level.other_cpu_ratio or 0.0)
    known = [share for share in (level.server_busy_ratio, machine, level.front_cpu_ratio) if share is not None]
    return min(max(known), 1.0) if known and max(known) > 0 else None


def _of_this_level(snapshots: Sequence[Snapshot]) -> Sequence[Snapshot]:
    """The polls whose figures of the engine's last seconds have nothing of the streams before; at least the last."""
    later = [snapshot for snapshot in snapshots if snapshot.at >= snapshots[0].at + _ENGINE_SECONDS]
    return later or [polled[-1] for polled in by_server(snapshots)]


def _lag(snapshots: Sequence[Snapshot]) -> float | None:
    figures = [snapshot.figures for snapshot in snapshots if snapshot.figures is not None]
    known = [one.lag_p95_seconds for one in figures if one.lag_p95_seconds is not None]
    return _p95((one.lag_bucket_counts for one in figures), median(known) if known else None)


def _p95(counts: Iterable[tuple[int, ...] | None], reported: float | None) -> float | None:
    """Of what the polls of a level counted, each since the poll before; `reported` by a server that counts nothing.

    Where nothing was counted, what a server says of its last minute is of the streams before.
    """
    known = [one for one in counts if one is not None]
    return quantile([sum(column) for column in zip(*known, strict=True)], 0.95) if known else reported


def _memory(gpu: GpuFigures) -> float:
    return gpu.memory_used_bytes or 0.0


def _host_memory_used(host: HostFigures) -> float | None:
    if host.memory_total_bytes is None or host.memory_available_bytes is None:
        return None
    return host.memory_total_bytes - host.memory_available_bytes


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
