"""`/metrics`: the snapshot as OpenMetrics text: base units, histograms for latencies, no per-stream label."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from whisper_ops import wire
from whisper_ops.histogram import LATENCY_BOUNDS_SECONDS

PREFIX = "whisper_ops_"
CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
REASONS = ("draining", "lagging", "no_capacity", "too_many_connections")
"""Why a stream is refused; all are exported from the start, since rate() needs a first sample."""
STATUSES = ("starting", "healthy", "degraded", "critical", "draining")

_GPU_GAUGES: tuple[tuple[str, str, str, float], ...] = (
    ("gpu_connections_active", "active_connections", "Live streams.", 1),
    ("gpu_connections_max", "max_connections", "Slots.", 1),
    ("gpu_streams_speaking", "speaking_streams", "Streams with speech in work.", 1),
    ("gpu_memory_total_bytes", "total_memory_gb", "Memory of the device.", 1e9),
    ("gpu_memory_used_bytes", "allocated_memory_gb", "Memory in use.", 1e9),
    ("gpu_utilization_ratio", "gpu_utilization_percent", "The device's own utilisation; it is not saturation.", 0.01),
    ("gpu_temperature_celsius", "temperature_celsius", "Temperature.", 1),
    ("gpu_power_watts", "power_watts", "Power drawn.", 1),
    ("gpu_power_limit_watts", "power_limit_watts", "Power limit.", 1),
    ("gpu_sm_clock_hertz", "sm_clock_hertz", "Clock.", 1),
    ("gpu_reading_age_seconds", "reading_age_seconds", "Age of the device's readings.", 1),
    ("gpu_batch_fill", "batch_fill_mean", "Rows a batch, last ten seconds.", 1),
    ("gpu_queue_wait_p95_seconds", "queue_wait_seconds_p95", "Due to taken, 95th percentile of the last minute.", 1),
    ("gpu_compute_p95_seconds", "compute_seconds_p95", "One batch, 95th percentile of the last minute.", 1),
    ("gpu_busy_ratio", "busy_ratio", "Share of time with a batch in work.", 1),
    ("gpu_audio_seconds_per_second", "audio_seconds_per_second", "Audio decoded a second.", 1),
    ("gpu_lag_p95_seconds", "lag_seconds_p95", "Lag of its streams, 95th percentile of the last minute.", 1),
    ("gpu_process_resident_bytes", "process_rss_bytes", "Memory of the worker process.", 1),
    ("gpu_process_cpu_ratio", "process_cpu_ratio", "Cores the worker process uses.", 1),
)


def exposition(snapshot: wire.ServerSnapshot) -> str:
    """The text of `/metrics`."""
    return "\n".join([*_own(snapshot), "# EOF", ""])


def prometheus(snapshot: wire.ServerSnapshot) -> str:
    """The text of `/metrics/prometheus`: the same, and the names that existing dashboards use."""
    return "\n".join([*_own(snapshot), *_published(snapshot), "# EOF", ""])


def _own(snapshot: wire.ServerSnapshot) -> Iterator[str]:
    health, performance = snapshot.health, snapshot.performance
    engine = snapshot.engine
    info = {"version": snapshot.version, "engine": engine.name, "model": engine.model}
    info |= {"compute_type": engine.compute_type or "", "simulated": str(engine.simulated).lower()}
    yield from _family("build", "info", "What runs here.", [(f"{_labels(info)}", 1)], suffix="_info")
    states = [(f'{{status="{name}"}}', int(name == health.status)) for name in STATUSES]
    yield from _family("status", "gauge", "1 for the status of /health.", states)
    yield from _gauge("slots", "Streams it can admit.", health.capacity.total_slots)
    yield from _gauge("slots_used", "Slots held.", health.capacity.used_slots)
    yield from _gauge("connections_active", "Live streams.", performance.active_connections)
    if snapshot.started_at is not None:
        yield from _gauge("start_time_seconds", "When it started.", snapshot.started_at)
    yield from _counter("connections_accepted", "Streams admitted.", performance.accepted_total)
    yield from _counter("connections_completed", "Streams ended well.", performance.total_completed_connections)
    yield from _counter("connections_failed", "Streams ended by a fault.", performance.failed_total)
    yield from _counter("connections_resumed", "Streams resumed.", performance.resumed_total)
    yield from _counter("connections_overloaded", "Streams closed for lag.", performance.overloaded_total)
    counted = dict.fromkeys(REASONS, 0) | performance.rejected_total
    refusals = [(f'{{reason="{_escape(k)}"}}', v) for k, v in sorted(counted.items())]
    yield from _family("connections_rejected", "counter", "Streams refused.", refusals, suffix="_total")
    latency = performance.latency
    yield from _histogram(
        "lag", "Lag of each stream, sampled each second.", latency.lag_bucket_counts, latency.lag_sum_s
    )
    yield from _histogram("final", "End of speech to final text.", latency.final_bucket_counts, latency.final_sum_s)
    for name, field, text, factor in _GPU_GAUGES:
        yield from _per_gpu(name, "gauge", text, snapshot.gpu_status.gpus, field, factor)
    yield from _per_gpu("gpu_restarts", "counter", "Restarts of the worker.", snapshot.gpu_status.gpus, "restarts", 1)
    yield from _per_gpu("gpu_ecc_errors", "counter", "Uncorrected.", snapshot.gpu_status.gpus, "ecc_errors", 1)
    yield from _host(snapshot.host)


def _host(host: wire.Host) -> Iterator[str]:
    for name in host.__struct_fields__:
        value = getattr(host, name)
        if isinstance(value, int | float):
            yield from _gauge(f"host_{name}", "Of the machine; see docs/api.md.", value)


def _per_gpu(
    name: str, kind: str, text: str, gpus: Sequence[wire.GpuEntry], field: str, factor: float
) -> Iterator[str]:
    known = [(gpu.gpu_id, getattr(gpu, field)) for gpu in gpus]
    rows = [(f'{{gpu="{gpu_id}"}}', value * factor) for gpu_id, value in known if value is not None]
    yield from _family(name, kind, text, rows, suffix="_total" if kind == "counter" else "")


def _gauge(name: str, text: str, value: float) -> Iterator[str]:
    yield from _family(name, "gauge", text, [("", value)])


def _counter(name: str, text: str, value: float) -> Iterator[str]:
    yield from _family(name, "counter", text, [("", value)], suffix="_total")


def _family(name: str, kind: str, text: str, rows: Sequence[tuple[str, float]], *, suffix: str = "") -> Iterator[str]:
    if rows:
        yield from (f"# TYPE {PREFIX}{name} {kind}", f"# HELP {PREFIX}{name} {text}")
        yield from (
            f"{PREFIX}{name}{suffix}{labels} {value:g}" if value % 1 else f"{PREFIX}{name}{suffix}{labels} {value:.0f}"
            for labels, value in rows
        )


def _histogram(name: str, text: str, counts: Sequence[int], sum_seconds: float) -> Iterator[str]:
    if not counts:
        return
    full = f"{PREFIX}{name}_seconds"
    yield from (f"# TYPE {full} histogram", f"# HELP {full} {text}")
    bounds = [*map(str, LATENCY_BOUNDS_SECONDS), "+Inf"]
    cumulated = list(accumulate(counts))
    yield from (f'{full}_bucket{{le="{bound}"}} {count}' for bound, count in zip(bounds, cumulated, strict=True))
    yield f"{full}_sum {sum_seconds:.6f}"
    yield f"{full}_count {cumulated[-1]}"


def _published(snapshot: wire.ServerSnapshot) -> Iterator[str]:
    """Names under which existing dashboards look for these figures."""
    gpus = snapshot.gpu_status.gpus
    yield from ("# TYPE whisperlivekit_gpu_total gauge", f"whisperlivekit_gpu_total {len(gpus)}")
    yield "# TYPE whisperlivekit_connections_active gauge"
    yield from (f'whisperlivekit_connections_active{{gpu="{g.gpu_id}"}} {g.active_connections}' for g in gpus)
    known = [g for g in gpus if g.allocated_memory_gb is not None]
    if known:
        yield "# TYPE whisperlivekit_gpu_memory_allocated_gb gauge"
        yield from (
            f'whisperlivekit_gpu_memory_allocated_gb{{gpu="{g.gpu_id}"}} {g.allocated_memory_gb}' for g in known
        )
    setup = snapshot.performance.averages.setup_time_ms
    if setup is not None:
        yield from ("# TYPE whisperlivekit_setup_time_ms_avg gauge", f"whisperlivekit_setup_time_ms_avg {setup:.3f}")


def _labels(values: dict[str, str]) -> str:
    return "{" + ",".join(f'{k}="{_escape(v)}"' for k, v in values.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
