"""Servers of other makes that have the published endpoints of this field, and nothing of ours.

`/health`, `/gpu-status` and `/performance` as the monitoring guide has them, without a `/snapshot`. Only what `/health`
says of its slots is needed to know such a server; everything else may be missing, and is unknown then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec

from whisper_ops import known_software
from whisper_ops.identity import Identity
from whisper_ops.lenient_json import Deviation, OtherShapeError, decode
from whisper_ops.snapshot import GpuFigures, ServerFigures, Snapshot
from whisper_ops.wire import MAX_GPUS

Get = Callable[[str], Awaitable[bytes | None]]
"""Asks for a path; None: the server has no such path. Raises what the caller raises when it does not answer."""

_GB = 1e9
_MS = 1e-3


class PublishedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an answer."""


class PublishedCapacity(PublishedPart, frozen=True, kw_only=True):
    total_slots: int | None = None
    used_slots: int | None = None
    available_slots: int | None = None


class PublishedGpuCount(PublishedPart, frozen=True, kw_only=True):
    total: int | None = None


class PublishedConnections(PublishedPart, frozen=True, kw_only=True):
    """What `/health` repeats of `/performance`."""

    total_completed_connections: int | None = None
    active_connections: int | None = None


class PublishedHealth(PublishedPart, frozen=True, kw_only=True):
    """`GET /health`. Its `capacity` is what tells this kind of server from others."""

    capacity: PublishedCapacity
    status: str | None = None
    gpus: PublishedGpuCount = PublishedGpuCount()
    performance: PublishedConnections = PublishedConnections()


class PublishedGpu(PublishedPart, frozen=True, kw_only=True):
    """A GPU of `GET /gpu-status`; the second half is newer than the guide, and read where it is there."""

    gpu_id: int | None = None
    active_connections: int | None = None
    total_memory_gb: float | None = None
    allocated_memory_gb: float | None = None
    free_memory_gb: float | None = None
    utilization_percent: float | None = None
    name: str | None = None
    uuid: str | None = None
    state: str | None = None
    gpu_utilization_percent: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None


class PublishedGpuStatus(PublishedPart, frozen=True, kw_only=True):
    """`GET /gpu-status`."""

    total_gpus: int | None = None
    total_connections: int | None = None
    max_connections_per_gpu: int | None = None
    gpus: Annotated[tuple[PublishedGpu, ...], msgspec.Meta(max_length=MAX_GPUS)] = ()


class PublishedAverages(PublishedPart, frozen=True, kw_only=True):
    """Of completed connections."""

    setup_time_ms: float | None = None


class PublishedExtremes(PublishedPart, frozen=True, kw_only=True):
    """Of completed connections."""

    slowest_setup_ms: float | None = None
    fastest_setup_ms: float | None = None


class PublishedPerformance(PublishedPart, frozen=True, kw_only=True):
    """`GET /performance`."""

    total_completed_connections: int | None = None
    active_connections: int | None = None
    averages: PublishedAverages = PublishedAverages()
    extremes: PublishedExtremes = PublishedExtremes()


class PublishedAnswers(msgspec.Struct, frozen=True, kw_only=True):
    health: PublishedHealth
    gpu_status: PublishedGpuStatus = PublishedGpuStatus()
    performance: PublishedPerformance = PublishedPerformance()
    remark: Deviation | None = None
    """What was loose about it."""


P = TypeVar("P", bound=PublishedPart)


async def ask(get: Get) -> PublishedAnswers | None:
    """Poll once. None: this is no such server.

    Raises:
        NotJsonError, OtherShapeError: it has the path of one of the others, and something else there.
    """
    body = await get("/health")
    if body is None:
        return None
    try:
        health, remark = decode(body, PublishedHealth)
    except OtherShapeError:
        return None
    gpu_body, performance_body = await asyncio.gather(get("/gpu-status"), get("/performance"))
    gpu_status, odd_gpus = _part(gpu_body, PublishedGpuStatus())
    performance, odd_performance = _part(performance_body, PublishedPerformance())
    return PublishedAnswers(
        health=health,
        gpu_status=gpu_status,
        performance=performance,
        remark=remark or odd_gpus or odd_performance,
    )


def _part(body: bytes | None, nothing: P) -> tuple[P, Deviation | None]:
    return (nothing, None) if body is None else decode(body, type(nothing))


def snapshot(server: str, at: float, poll_seconds: float, answers: PublishedAnswers) -> Snapshot:
    """A poll in base units."""
    names = sorted({gpu.name for gpu in answers.gpu_status.gpus if gpu.name})
    return Snapshot(
        server=server,
        at=at,
        poll_seconds=poll_seconds,
        identity=Identity(software=known_software.WHISPERLIVEKIT, gpu_name=" + ".join(names) or None),
        figures=_figures(answers),
        gpus=tuple(_gpu(number, gpu, answers.gpu_status) for number, gpu in enumerate(answers.gpu_status.gpus)),
    )


def _figures(answers: PublishedAnswers) -> ServerFigures:
    health, status, performance = answers.health, answers.gpu_status, answers.performance
    slots, free = health.capacity.total_slots, health.capacity.available_slots
    gpus = _first(status.total_gpus, health.gpus.total, len(status.gpus) or None)
    if slots is None and gpus is not None and status.max_connections_per_gpu is not None:
        slots = gpus * status.max_connections_per_gpu
    used = health.capacity.used_slots
    if used is None and slots is not None and free is not None:
        used = slots - free
    completed = _first(performance.total_completed_connections, health.performance.total_completed_connections)
    return ServerFigures(
        status=None if health.status is None else health.status.lower(),
        slots=slots,
        slots_used=used,
        slots_per_gpu=status.max_connections_per_gpu,
        streams_active=_first(
            performance.active_connections, health.performance.active_connections, status.total_connections
        ),
        gpus=gpus,
        completed_total=completed,
        setup_mean_seconds=_setup(performance.averages.setup_time_ms, completed),
        setup_max_seconds=_setup(performance.extremes.slowest_setup_ms, completed),
        setup_min_seconds=_setup(performance.extremes.fastest_setup_ms, completed),
    )


def _gpu(number: int, gpu: PublishedGpu, status: PublishedGpuStatus) -> GpuFigures:
    total, used = gpu.total_memory_gb, gpu.allocated_memory_gb
    if used is None and total is not None and gpu.free_memory_gb is not None:
        used = total - gpu.free_memory_gb
    if used is None and total is not None and gpu.utilization_percent is not None:
        used = total * gpu.utilization_percent / 100
    return GpuFigures(
        gpu_id=number if gpu.gpu_id is None else gpu.gpu_id,
        uuid=gpu.uuid,
        name=gpu.name,
        state=gpu.state,
        streams_active=gpu.active_connections,
        slots=status.max_connections_per_gpu,
        memory_total_bytes=None if total is None else total * _GB,
        memory_used_bytes=None if used is None else used * _GB,
        gpu_ratio=None if gpu.gpu_utilization_percent is None else gpu.gpu_utilization_percent / 100,
        temperature_celsius=gpu.temperature_celsius,
        power_watts=gpu.power_watts,
    )


def _setup(milliseconds: float | None, completed: int | None) -> float | None:
    # A mean of nothing is written as 0 by some; ours is null.
    return None if milliseconds is None or (not completed and not milliseconds) else milliseconds * _MS


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
