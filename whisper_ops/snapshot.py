"""One poll of one server, in base units, with every unknown None: the only thing that crosses from poller to screen.

The TUI, `--once`, `--json`, the recorder, replay and alerts all read `Snapshot`. The fields of the three figure types
are the columns of `server_sample`, `gpu_sample` and `host_sample`: what is shown is what is stored, and what is stored
can be shown again. `from_wire` makes one out of a whisper-ops server's answer; other sources fill what they know.
"""

import math
from typing import Literal

import msgspec

from whisper_ops import untrusted_text, wire
from whisper_ops.histogram import BUCKETS, difference
from whisper_ops.identity import Identity

PollState = Literal["live", "silent"]

_GB = 1e9


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A wide row. Units are in the names: seconds, bytes, ratio (0 to 1), celsius, watts, hertz; `_total` counts up."""

    def __post_init__(self) -> None:
        """Whatever reads figures gets names that can be shown: this is the border."""
        untrusted_text.cleaned(self, untrusted_text.NAME_LIMIT)


class ServerFigures(Figures, frozen=True, kw_only=True):
    status: str | None = None
    """The server's own word: starting, healthy, degraded, critical or draining."""
    started_at: float | None = None
    slots: int | None = None
    slots_used: int | None = None
    slots_per_gpu: int | None = None
    streams_active: int | None = None
    streams_speaking: int | None = None
    gpus: int | None = None
    accepted_total: int | None = None
    completed_total: int | None = None
    failed_total: int | None = None
    rejected_total: int | None = None
    lag_p50_seconds: float | None = None
    lag_p95_seconds: float | None = None
    lag_p99_seconds: float | None = None
    final_p50_seconds: float | None = None
    final_p95_seconds: float | None = None
    partial_interval_seconds: float | None = None
    setup_mean_seconds: float | None = None
    setup_max_seconds: float | None = None
    setup_min_seconds: float | None = None
    reading_error: str | None = None
    """Why no GPU can be read at the moment, in one sentence."""
    lag_bucket_counts: tuple[int, ...] | None = None
    """Lag samples counted since the poll before, in the buckets of `whisper_ops.histogram`; None on the first poll.
    They add up over polls, servers and time."""


class GpuFigures(Figures, wire.DeviceReadings, frozen=True, kw_only=True):
    """One GPU at one moment; `gpu_id` is the server's own numbering."""

    gpu_id: int
    uuid: str | None = None
    name: str | None = None
    state: str | None = None
    streams_active: int | None = None
    streams_speaking: int | None = None
    slots: int | None = None
    memory_total_bytes: float | None = None
    memory_used_bytes: float | None = None
    gpu_ratio: float | None = None
    """The device's own utilisation. It is not saturation: servers missed their latency at 11 %."""
    busy_ratio: float | None = None
    """The share of time in which the engine had a batch in work."""
    reading_error: str | None = None
    """Why this GPU cannot be read at the moment, in one sentence."""
    throttle_reasons: str | None = None
    """Comma-separated; empty: none; None: not known."""
    ecc_errors: int | None = None
    other_processes: tuple[str, ...] | None = None
    """What else computes on it; None: not known. Neither this nor the next is kept in the history."""
    other_busy_ratio: float | None = None
    reading_age_seconds: float | None = None
    batch_fill_mean: float | None = None
    queue_wait_p95_seconds: float | None = None
    compute_p95_seconds: float | None = None
    audio_seconds_per_second: float | None = None
    lag_p95_seconds: float | None = None
    restarts: int | None = None
    process_rss_bytes: float | None = None
    process_cpu_ratio: float | None = None

    @property
    def is_cpu(self) -> bool:
        """Whether this is the machine's processor, which stands in for the GPU that is not there."""
        return self.name == wire.CPU_NAME


class HostFigures(Figures, frozen=True, kw_only=True):
    """The machine under a server at one moment."""

    hostname: str | None = None
    cpu_count: int | float | None = None  # a whole number stays one in JSON
    cpu_ratio: float | None = None
    load_1m: float | None = None
    memory_total_bytes: float | None = None
    memory_available_bytes: float | None = None
    front_cpu_ratio: float | None = None
    process_rss_bytes: float | None = None
    process_cpu_ratio: float | None = None
    open_descriptors: int | None = None
    descriptors_soft_limit: int | None = None
    descriptors_hard_limit: int | None = None
    sockets: int | None = None
    threads: int | None = None
    tasks_max: int | None = None
    somaxconn: int | None = None
    syn_backlog: int | None = None
    port_range_low: int | None = None
    port_range_high: int | None = None
    conntrack_max: int | None = None
    network_receive_bytes_per_second: float | None = None
    network_send_bytes_per_second: float | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One poll of one server. After a failed poll the figures are None and `error` says why in one sentence."""

    def __post_init__(self) -> None:
        untrusted_text.cleaned(self, untrusted_text.SENTENCE_LIMIT)

    server: str
    """The name it is known by: its address without a token, or the name given in the settings."""
    at: float
    """When the poll was answered or given up, UTC epoch seconds."""
    poll_seconds: float | None = None
    state: PollState = "live"
    error: str | None = None
    identity: Identity | None = None
    figures: ServerFigures | None = None
    gpus: tuple[GpuFigures, ...] = ()
    host: HostFigures | None = None
    server_id: str | None = None
    """Which server process answered, where it says; it is not stored."""
    queue_wait_bucket_counts: tuple[int, ...] | None = None
    """Waits for a batch since the poll before, of all GPUs, as `lag_bucket_counts`; they are not stored."""
    compute_bucket_counts: tuple[int, ...] | None = None
    """The same of batches."""
    members: tuple[wire.Member, ...] | None = None
    """Of a broker: the servers that the figures are the sum of; None: of one server. Not stored."""


def from_wire(
    server: str, at: float, poll_seconds: float, answer: wire.ServerSnapshot, before: wire.ServerSnapshot | None = None
) -> Snapshot:
    """Turn a whisper-ops server's answer into a snapshot in base units.

    `before` is its last answer: what it counted in between goes into the bucket counts, which are None without one.
    """
    return Snapshot(
        server=server,
        at=at,
        poll_seconds=poll_seconds,
        identity=_identity(answer),
        figures=_server_figures(answer, before),
        gpus=tuple(_gpu_figures(gpu) for gpu in answer.gpu_status.gpus),
        host=_host_figures(answer.host),
        server_id=answer.server_id,
        queue_wait_bucket_counts=_gpus_counted(answer, before, "queue_wait_bucket_counts"),
        compute_bucket_counts=_gpus_counted(answer, before, "compute_bucket_counts"),
        members=answer.members,
    )


def _identity(answer: wire.ServerSnapshot) -> Identity:
    names = sorted({gpu.name for gpu in answer.gpu_status.gpus if gpu.name})
    return Identity(
        software=answer.software,
        version=answer.version,
        engine=answer.engine.name,
        model=answer.engine.model,
        compute_type=answer.engine.compute_type,
        max_batch=answer.engine.max_batch,
        gpu_name=" + ".join(names) or None,
        simulated=answer.engine.simulated,
    )


def _server_figures(answer: wire.ServerSnapshot, before: wire.ServerSnapshot | None) -> ServerFigures:
    earlier = None if before is None else before.performance.latency
    health, performance, latency = answer.health, answer.performance, answer.performance.latency
    speaking = [gpu.speaking_streams for gpu in answer.gpu_status.gpus if gpu.speaking_streams is not None]
    return ServerFigures(
        status=health.status,
        started_at=answer.started_at,
        slots=health.capacity.total_slots,
        slots_used=health.capacity.used_slots,
        slots_per_gpu=answer.gpu_status.max_connections_per_gpu,
        streams_active=performance.active_connections,
        streams_speaking=sum(speaking) if speaking else None,
        gpus=answer.gpu_status.total_gpus,
        accepted_total=performance.accepted_total,
        completed_total=performance.total_completed_connections,
        failed_total=performance.failed_total,
        rejected_total=sum(performance.rejected_total.values()),
        lag_p50_seconds=latency.lag_p50_s,
        lag_p95_seconds=latency.lag_p95_s,
        lag_p99_seconds=latency.lag_p99_s,
        final_p50_seconds=latency.final_p50_s,
        final_p95_seconds=latency.final_p95_s,
        partial_interval_seconds=latency.partial_interval_s,
        setup_mean_seconds=_scaled(performance.averages.setup_time_ms, 1e-3),
        setup_max_seconds=_scaled(performance.extremes.slowest_setup_ms, 1e-3),
        setup_min_seconds=_scaled(performance.extremes.fastest_setup_ms, 1e-3),
        reading_error=answer.gpu_status.reading_error,
        lag_bucket_counts=None if earlier is None else _counted(latency.lag_bucket_counts, earlier.lag_bucket_counts),
    )


def _gpu_figures(gpu: wire.GpuEntry) -> GpuFigures:
    return GpuFigures(
        **wire.readings_of(gpu) | {"power_watts": _whole(gpu.power_watts)},
        gpu_id=gpu.gpu_id,
        uuid=gpu.uuid,
        name=gpu.name,
        state=gpu.state,
        streams_active=gpu.active_connections,
        streams_speaking=gpu.speaking_streams,
        slots=gpu.max_connections,
        memory_total_bytes=_scaled(gpu.total_memory_gb, _GB),
        memory_used_bytes=_scaled(gpu.allocated_memory_gb, _GB),
        gpu_ratio=_scaled(gpu.gpu_utilization_percent, 1e-2),
        busy_ratio=gpu.busy_ratio,
        throttle_reasons=None if gpu.throttle_reasons is None else ",".join(gpu.throttle_reasons),
        ecc_errors=gpu.ecc_errors,
        other_processes=gpu.other_processes,
        other_busy_ratio=gpu.other_busy_ratio,
        reading_age_seconds=_whole(gpu.reading_age_seconds),
        reading_error=gpu.reading_error,
        batch_fill_mean=gpu.batch_fill_mean,
        queue_wait_p95_seconds=gpu.queue_wait_seconds_p95,
        compute_p95_seconds=gpu.compute_seconds_p95,
        audio_seconds_per_second=gpu.audio_seconds_per_second,
        lag_p95_seconds=gpu.lag_seconds_p95,
        restarts=gpu.restarts,
        process_rss_bytes=gpu.process_rss_bytes,
        process_cpu_ratio=gpu.process_cpu_ratio,
    )


def _host_figures(host: wire.Host) -> HostFigures:
    figures = msgspec.convert(host, HostFigures, from_attributes=True)
    return msgspec.structs.replace(
        figures,
        network_receive_bytes_per_second=_whole(host.network_receive_bytes_per_second),
        network_send_bytes_per_second=_whole(host.network_send_bytes_per_second),
    )


def _counted(now: tuple[int, ...], earlier: tuple[int, ...]) -> tuple[int, ...] | None:
    return tuple(difference(now, earlier)) if len(now) == len(earlier) == BUCKETS else None


def _gpus_counted(
    answer: wire.ServerSnapshot, before: wire.ServerSnapshot | None, field: str
) -> tuple[int, ...] | None:
    """What all GPUs that were there before counted since; None where one does not say."""
    earlier = {} if before is None else {gpu.gpu_id: gpu for gpu in before.gpu_status.gpus}
    pairs = [(gpu, earlier[gpu.gpu_id]) for gpu in answer.gpu_status.gpus if gpu.gpu_id in earlier]
    counts = [_counted(getattr(now, field), getattr(then, field)) for now, then in pairs]
    known = [one for one in counts if one is not None]
    return tuple(map(sum, zip(*known, strict=True))) if known and len(known) == len(counts) else None


def _whole(value: float | None) -> float | None:
    """Without a fraction that is only noise: SQLite keeps whole numbers in 1 to 6 bytes, all others in 8."""
    return value if value is None or not math.isfinite(value) else float(round(value))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def completed(poll: Snapshot) -> Snapshot:
    """With streams that are known only by GPU summed up, and those of a server that names no GPU on its only one."""
    figures, gpus = poll.figures or ServerFigures(), poll.gpus
    on_gpus = [gpu.streams_active for gpu in gpus if gpu.streams_active is not None]
    if figures.streams_active is None and on_gpus:
        figures = msgspec.structs.replace(figures, streams_active=sum(on_gpus))
    if len(gpus) <= 1 and figures.streams_active is not None:
        only = gpus[0] if gpus else GpuFigures(gpu_id=0)
        streams = figures.streams_active if only.streams_active is None else only.streams_active
        lag = figures.lag_p95_seconds if only.lag_p95_seconds is None else only.lag_p95_seconds
        gpus = (msgspec.structs.replace(only, streams_active=streams, lag_p95_seconds=lag),)
    if figures.gpus is None:
        figures = msgspec.structs.replace(figures, gpus=max(len(gpus), 1))
    return msgspec.structs.replace(poll, figures=figures, gpus=gpus)
