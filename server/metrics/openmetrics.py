"""`/metrics`: the snapshot as metric families, in base units, with histograms of latencies and no label per stream."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from whisper_ops import wire
from whisper_ops.histogram import LATENCY_BOUNDS_SECONDS
from whisper_ops.known_software import WHISPERLIVEKIT

PREFIX = "whisper_ops_"
REASONS = ("draining", "lagging", "no_capacity", "too_many_connections")
"""Why a stream is refused; all are exported from the start, since rate() needs a first sample."""
FLOODS = ("control", "frames", "messages")
STATUSES = ("starting", "healthy", "degraded", "critical", "draining")

_GPU_GAUGES: tuple[tuple[str, str, str, float], ...] = (
    ("gpu_connections_active", "active_connections", "Live streams.", 1),
    ("gpu_connections_max", "max_connections", "Slots.", 1),
    ("gpu_streams_speaking", "speaking_streams", "Streams with speech in work.", 1),
    ("gpu_memory_total_bytes", "total_memory_gb", "Memory of the device.", 1e9),
    ("gpu_memory_used_bytes", "allocated_memory_gb", "Memory in use.", 1e9),
    ("gpu_memory_free_bytes", "free_memory_gb", "Memory that is free.", 1e9),
    ("gpu_utilization_ratio", "gpu_utilization_percent", "The device's own utilisation; it is not saturation.", 0.01),
    *((f"gpu_{name}", name, text, 1) for name, text in wire.READINGS_HELP.items()),
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

_HOST_GAUGES: tuple[tuple[str, str, str], ...] = (
    ("cpus", "cpu_count", "Cores that the server may use."),
    ("cpu_ratio", "cpu_ratio", "Busy share of all cores together."),
    ("load_1m", "load_1m", "Load average of one minute."),
    ("memory_total_bytes", "memory_total_bytes", "Memory of the machine."),
    ("memory_available_bytes", "memory_available_bytes", "Memory of the machine that can be had."),
    ("front_cpu_ratio", "front_cpu_ratio", "Of one core: what the front process uses of it."),
    ("process_rss_bytes", "process_rss_bytes", "Memory of the front process and its workers."),
    ("process_cpu_ratio", "process_cpu_ratio", "Cores that the front process and its workers use."),
    ("open_descriptors", "open_descriptors", "Files and sockets that the front process has open."),
    ("descriptors_soft_limit", "descriptors_soft_limit", "Files it may have open now."),
    ("descriptors_hard_limit", "descriptors_hard_limit", "Files it may have open if it asks."),
    ("sockets", "sockets", "Sockets in use on the machine."),
    ("threads", "threads", "Threads of the front process."),
    ("tasks_max", "tasks_max", "Threads its control group may have."),
    ("somaxconn", "somaxconn", "Longest queue of connections not yet accepted."),
    ("syn_backlog", "syn_backlog", "Longest queue of half-open connections."),
    ("port_range_low", "port_range_low", "First ephemeral port."),
    ("port_range_high", "port_range_high", "Last ephemeral port."),
    ("conntrack_max", "conntrack_max", "Connections that the firewall can track."),
    ("network_receive_bytes_per_second", "network_receive_bytes_per_second", "Received by the machine."),
    ("network_send_bytes_per_second", "network_send_bytes_per_second", "Sent by the machine."),
)


class MetricFamilies:
    """A `prometheus_client.registry.Collector`; a family whose value is unknown has no sample."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> list[Metric]:
        return self._families


def own(snapshot: wire.ServerSnapshot) -> MetricFamilies:
    """`/metrics`."""
    return MetricFamilies(_own(snapshot))


def with_published(snapshot: wire.ServerSnapshot) -> MetricFamilies:
    """`/metrics/prometheus`: the same, and the names that existing dashboards use."""
    return MetricFamilies([*_own(snapshot), *_published(snapshot)])


def _own(snapshot: wire.ServerSnapshot) -> Iterator[Metric]:
    health, performance = snapshot.health, snapshot.performance
    yield _build(snapshot)
    states = GaugeMetricFamily(f"{PREFIX}status", "1 for the status of /health.", labels=["status"])
    for name in STATUSES:
        states.add_metric([name], name == health.status)
    yield states
    yield _gauge("slots", "Streams it can admit.", health.capacity.total_slots)
    yield _gauge("slots_used", "Slots held.", health.capacity.used_slots)
    yield _gauge("connections_active", "Live streams.", performance.active_connections)
    yield _gauge("start_time_seconds", "When it started, since the epoch.", snapshot.started_at)
    yield _counter("connections_accepted", "Streams admitted.", performance.accepted_total)
    yield _counter("connections_completed", "Streams ended well.", performance.total_completed_connections)
    yield _counter("connections_failed", "Streams ended by a fault.", performance.failed_total)
    yield _counter("connections_resumed", "Streams resumed.", performance.resumed_total)
    yield _counter("connections_overloaded", "Streams closed for lag.", performance.overloaded_total)
    yield _counter("tickets_issued", "Tickets given out by /connect.", performance.tickets_issued_total)
    yield _counter("tickets_used", "Tickets that a client came with.", performance.tickets_used_total)
    yield _counter("tickets_abandoned", "Tickets that nobody came with.", performance.tickets_abandoned_total)
    yield _counter("connections_paused", "Times that a stream was not read for lag.", performance.paused_total)
    floods = dict.fromkeys(FLOODS, 0) | performance.flooded_total
    yield _labelled("connections_flooded", "Connections ended for what they sent, by what it was.", "kind", floods)
    yield _counter("connections_turned_away", "Connections ended to have room.", performance.turned_away_total)
    yield _counter("telemetry_errors", "Readings that failed.", performance.telemetry_errors_total)
    yield _counter("positions_misplaced", "Positions outside of a stream: faults.", performance.misplaced_total)
    counted = dict.fromkeys(REASONS, 0) | performance.rejected_total
    yield _labelled("connections_rejected", "Streams refused.", "reason", counted)
    latency = performance.latency
    yield latency_histogram(
        "lag", "Lag of each stream, sampled each second.", latency.lag_bucket_counts, latency.lag_sum_s
    )
    yield latency_histogram("final", "End of speech to final text.", latency.final_bucket_counts, latency.final_sum_s)
    yield latency_histogram("setup", "Connection to ready.", latency.setup_bucket_counts, latency.setup_sum_s)
    gpus = snapshot.gpu_status.gpus
    yield _devices(gpus)
    for name, field, text, factor in _GPU_GAUGES:
        yield _by_gpu(GaugeMetricFamily, f"{PREFIX}{name}", text, gpus, field, factor)
    yield _by_gpu(CounterMetricFamily, f"{PREFIX}gpu_restarts", "Restarts of the worker.", gpus, "restarts")
    yield _by_gpu(CounterMetricFamily, f"{PREFIX}gpu_failed_rows", "Windows not decoded.", gpus, "failed_rows")
    withheld = "Utterances whose text was taken for made of no speech, and not told."
    yield _by_gpu(CounterMetricFamily, f"{PREFIX}gpu_withheld_utterances", withheld, gpus, "withheld_utterances")
    yield _by_gpu(CounterMetricFamily, f"{PREFIX}gpu_ecc_errors", "Uncorrected.", gpus, "ecc_errors")
    for name, field, text in _HOST_GAUGES:
        yield _gauge(f"host_{name}", text, getattr(snapshot.host, field))


def _published(snapshot: wire.ServerSnapshot) -> Iterator[Metric]:
    """Names under which existing dashboards look for these figures; their units are in the names, as published."""
    gpus, performance, name = snapshot.gpu_status.gpus, snapshot.performance, WHISPERLIVEKIT
    yield GaugeMetricFamily(f"{name}_gpu_total", "GPUs.", len(gpus))
    yield _by_gpu(GaugeMetricFamily, f"{name}_connections_active", "Live streams.", gpus, "active_connections")
    for field, text in (("allocated", "in use"), ("free", "that is free")):
        yield _by_gpu(
            GaugeMetricFamily,
            f"{name}_gpu_memory_{field}_gb",
            f"Memory {text}, in GB.",
            gpus,
            f"{field}_memory_gb",
        )
    yield CounterMetricFamily(f"{name}_connections", "Streams ended well.", performance.total_completed_connections)
    mean = GaugeMetricFamily(f"{name}_setup_time_ms_avg", "Mean time from connection to ready, in milliseconds.")
    if performance.averages.setup_time_ms is not None:
        mean.add_metric([], performance.averages.setup_time_ms)
    yield mean


def _build(snapshot: wire.ServerSnapshot) -> Metric:
    engine = snapshot.engine
    labels = {"version": snapshot.version, "engine": engine.name, "model": engine.model}
    labels |= {"compute_type": engine.compute_type or "", "simulated": str(engine.simulated).lower()}
    labels |= {"max_batch": "" if engine.max_batch is None else str(engine.max_batch)}
    return InfoMetricFamily(f"{PREFIX}build", "What runs here.", labels)


def _devices(gpus: Sequence[wire.GpuEntry]) -> Metric:
    family = InfoMetricFamily(
        f"{PREFIX}gpu", "The device: cuda:N, sim:N or cpu, whose memory is the machine's.", labels=["gpu"]
    )
    for gpu in gpus:
        family.add_metric([str(gpu.gpu_id)], {"device": gpu.device or "", "name": gpu.name or ""})
    return family


def _gauge(name: str, text: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}{name}", text, value)


def _labelled(name: str, text: str, label: str, counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _by_gpu(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    text: str,
    gpus: Sequence[wire.GpuEntry],
    field: str,
    factor: float = 1,
) -> Metric:
    family = kind(name, text, labels=["gpu"])
    for gpu in gpus:
        value: Any = getattr(gpu, field)
        if value is not None:
            family.add_metric([str(gpu.gpu_id)], value * factor)
    return family


def latency_histogram(name: str, text: str, counts: Sequence[int], sum_seconds: float) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}{name}_seconds", text, labels=[])
    if counts:
        bounds = [*map(str, LATENCY_BOUNDS_SECONDS), "+Inf"]
        family.add_metric([], list(zip(bounds, accumulate(counts), strict=True)), sum_seconds)
    return family
