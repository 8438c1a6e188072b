"""The hub, as the wire types of the HTTP endpoints. Reading only; each view takes well under a millisecond."""

import time
from collections.abc import Sequence

from server.metrics.host_readings import HostReadings
from server.sessions.hub import Hub
from server.sessions.slot_usage import slot_capacity
from whisper_ops import __version__, wire

_GB = 1e9
_MOST_NAMED = 8
"""Other processes on a GPU."""


class SnapshotBuilder:
    """Answers of the endpoints, from the hub and the newest readings."""

    def __init__(self, hub: Hub, readings: HostReadings) -> None:
        self._hub = hub
        self._readings = readings

    def health(self) -> wire.Health:
        """`GET /health`."""
        hub, slots = self._hub, self._hub.slots
        total, used = slots.total, slots.used
        return wire.Health(
            status=hub.status,
            timestamp=time.time(),
            capacity=slot_capacity(total, used),
            gpus=wire.GpuCount(total=len(slots.gpus), with_connections=sum(bool(g.active) for g in slots.gpus)),
            performance=wire.HealthPerformance(
                total_completed_connections=hub.counters.completed, active_connections=len(hub.sessions)
            ),
        )

    def gpu_status(self) -> wire.GpuStatus:
        """`GET /gpu-status`."""
        slots = self._hub.slots
        return wire.GpuStatus(
            total_gpus=len(slots.gpus),
            total_connections=sum(len(gpu.active) for gpu in slots.gpus),
            max_connections_per_gpu=slots.gpus[0].limit,
            gpus=tuple(self._gpu(gpu.gpu_id) for gpu in slots.gpus),
            reading_error=self._readings.trouble,
        )

    def _gpu(self, gpu_id: int) -> wire.GpuEntry:
        hub = self._hub
        gpu, worker, figures = hub.slots.gpus[gpu_id], hub.workers[gpu_id], hub.engine_stats[gpu_id]
        device, reading, usage = worker.device, self._readings.gpu(gpu_id), self._readings.usage(gpu_id)
        total, free = self._readings.memory(gpu_id)
        used = total - free if total is not None and free is not None else None
        others = self._readings.others(gpu_id)
        names = {"cpu": wire.CPU_NAME, "sim": f"simulated GPU {gpu_id}", "cuda": reading.name if reading else None}
        return wire.GpuEntry(
            **wire.readings_of(reading),
            gpu_id=gpu_id,
            active_connections=len(gpu.active),
            connection_ids=tuple(sorted(gpu.active)),
            total_memory_gb=_gb(total),
            allocated_memory_gb=_gb(used),
            free_memory_gb=_gb(free),
            utilization_percent=round(100 * used / total, 2) if used is not None and total else None,
            name=names[device.kind],
            uuid=reading.uuid if reading else None,
            device=device.name,
            state="draining" if hub.is_draining and gpu.state == "ready" else gpu.state,
            gpu_utilization_percent=reading.gpu_utilization_percent if reading else None,
            throttle_reasons=reading.throttle_reasons if reading else None,
            ecc_errors=reading.ecc_errors if reading else None,
            other_processes=None if others is None else tuple(one.title for one in others[:_MOST_NAMED]),
            other_busy_ratio=None if others is None else _together([one.busy_ratio for one in others]),
            reading_age_seconds=round(time.monotonic() - reading.at, 3) if reading else None,
            reading_error=self._readings.why_unread(device, reading),
            max_connections=gpu.limit,
            model=hub.settings.model,
            compute_type=worker.loaded.compute_type if worker.loaded else None,
            simulated=device.kind == "sim",
            speaking_streams=figures.speaking,
            batch_fill_mean=figures.batch_fill_mean,
            queue_wait_seconds_p95=figures.waits.quantiles(0.95)[0],
            compute_seconds_p95=figures.computes.quantiles(0.95)[0],
            queue_wait_bucket_counts=tuple(figures.waits.total.counts),
            compute_bucket_counts=tuple(figures.computes.total.counts),
            busy_ratio=figures.busy_ratio,
            audio_seconds_per_second=figures.audio_seconds_per_second,
            lag_seconds_p95=figures.lags.quantiles(0.95)[0],
            restarts=worker.restarts,
            failed_rows=figures.failed_rows,
            withheld_utterances=figures.withheld,
            process_id=worker.pid,
            process_rss_bytes=usage.rss_bytes if usage else None,
            process_cpu_ratio=usage.cpu_ratio if usage else None,
            engine_allocated_gb=_gb(figures.memory_bytes),
            engine_reserved_gb=_gb(figures.reserved_bytes),
        )

    def performance(self) -> wire.Performance:
        """`GET /performance`."""
        hub, stats = self._hub, self._hub.counters
        return wire.Performance(
            total_completed_connections=stats.completed,
            active_connections=len(hub.sessions),
            averages=stats.averages(),
            extremes=stats.extremes(),
            latency=stats.latency(),
            rejected_total=dict(stats.rejected),
            failed_total=stats.failed,
            accepted_total=stats.accepted,
            resumed_total=stats.resumed,
            overloaded_total=stats.overloaded,
            tickets_issued_total=stats.tickets_issued,
            tickets_used_total=stats.tickets_used,
            tickets_abandoned_total=stats.tickets_abandoned,
            tickets_waiting=hub.admission.tickets.waiting,
            paused_total=stats.paused,
            flooded_total=dict(hub.connection_limits.flooded),
            turned_away_total=hub.connection_limits.turned_away,
            telemetry_errors_total=self._readings.failures,
            misplaced_total=stats.misplaced + sum(s.misplaced for s in hub.sessions.values()),
        )

    def host(self) -> wire.Host:
        """The machine, at most a second old."""
        return self._readings.host

    def engine(self) -> wire.EngineEntry:
        """What runs the model."""
        settings = self._hub.settings
        loaded = next((worker.loaded for worker in self._hub.workers if worker.loaded), None)
        return wire.EngineEntry(
            name=settings.engine,
            model=settings.model,
            compute_type=loaded.compute_type if loaded else None,
            max_batch=settings.max_batch,
            simulated=settings.engine == "simulated",
            languages=loaded.languages if loaded else None,
        )

    def snapshot(self) -> wire.ServerSnapshot:
        """`GET /snapshot`."""
        return wire.ServerSnapshot(
            health=self.health(),
            gpu_status=self.gpu_status(),
            performance=self.performance(),
            host=self.host(),
            engine=self.engine(),
            version=__version__,
            started_at=self._hub.started_at,
            server_id=self._hub.server_id,
        )


def _gb(value: float | None) -> float | None:
    return None if value is None else round(value / _GB, 3)


def _together(shares: Sequence[float | None]) -> float | None:
    """Their sum, never more than all of it; None where one of them is not known."""
    known = [share for share in shares if share is not None]
    return min(sum(known), 1.0) if len(known) == len(shares) else None
