"""The hub, as the wire types of the HTTP endpoints. Reading only; each view takes well under a millisecond."""

import asyncio
import logging
import time
from functools import partial

from server.devices import Device
from server.front.hub import Hub
from whisper_ops import __version__, wire
from whisper_ops.telemetry.hosts import HostMeter, ProcessMeter, Usage
from whisper_ops.telemetry.nvml import Nvml, Reading, Watch

log = logging.getLogger("whisper_ops.server")

_GB = 1e9


class Views:
    """Answers of the endpoints. `run` keeps the machine's figures fresh."""

    def __init__(self, hub: Hub, watch: Watch | None = None) -> None:
        self._hub = hub
        cuda = any(device.kind == "cuda" for device in hub.settings.devices)
        self._watch = watch or (_watch() if cuda else None)
        self._meter = HostMeter()
        self._meters: dict[int, ProcessMeter] = {}
        self._usage: dict[int, Usage | None] = {}
        self._host = self._meter.read(())
        self._failures_said = 0

    async def run(self) -> None:
        """Measure once a second until cancelled. A measurement that fails is unknown, and the server goes on."""
        async with asyncio.TaskGroup() as group:
            if self._watch is not None:
                group.create_task(self._watch_on(self._watch))
            group.create_task(self._measure())

    async def _watch_on(self, watch: Watch) -> None:
        while True:
            try:
                await watch.run()
            except Exception as error:  # noqa: BLE001  # whatever a driver's library does, streams go on
                self._meter.failed(error)
            await asyncio.sleep(1.0)

    async def _measure(self) -> None:
        while True:
            self._meter.attempt(self.refresh)
            if self._meter.failures and not self._failures_said:
                log.warning("Telemetry: a reading failed and is unknown (%s)", self._meter.trouble)
            self._failures_said = self._meter.failures
            await asyncio.sleep(1.0)

    def refresh(self) -> None:
        """Measure the machine and the processes now."""
        for worker in self._hub.workers:
            meter = self._meters.get(worker.gpu_id)
            pid = worker.pid
            if pid is not None and (meter is None or meter.pid != pid):
                meter = self._meter.attempt(partial(ProcessMeter, pid))
                self._meters.pop(worker.gpu_id, None)
                if meter is not None:
                    self._meters[worker.gpu_id] = meter
            self._usage[worker.gpu_id] = self._meter.attempt(meter.read) if meter else None
        self._host = self._meter.read(self._usage.values())
        for gpu in self._hub.slots.gpus:
            free = self._memory(gpu.gpu_id)[1]
            gpu.free_memory_bytes = free or 0.0

    # --- views --------------------------------------------------------------------------------------

    def health(self) -> wire.Health:
        """`GET /health`."""
        hub, slots = self._hub, self._hub.slots
        total, used = slots.total, slots.used
        return wire.Health(
            status=hub.status,
            timestamp=time.time(),
            capacity=wire.SlotCapacity(
                total_slots=total,
                used_slots=used,
                available_slots=max(0, total - used),
                utilization_percent=round(100 * used / total, 2) if total else 0.0,
            ),
            gpus=wire.GpuCount(total=len(slots.gpus), with_connections=sum(bool(g.active) for g in slots.gpus)),
            performance=wire.HealthPerformance(
                total_completed_connections=hub.stats.completed, active_connections=len(hub.sessions)
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
            reading_error=self._watch.trouble if self._watch is not None else None,
        )

    def _reading(self, gpu_id: int) -> Reading | None:
        device = self._hub.settings.devices[gpu_id]
        if device.kind != "cuda" or self._watch is None or device.index >= len(self._watch.readings):
            return None
        return self._watch.readings[device.index]

    def _why_unread(self, device: Device, reading: Reading | None) -> str | None:
        """What to say of a GPU without figures; None where it has them, or is none."""
        if device.kind != "cuda" or self._watch is None:
            return None
        if reading is not None:
            return reading.error or self._watch.trouble
        return self._watch.trouble or (None if not self._watch.read_once else f"the driver lists no GPU {device.index}")

    def _memory(self, gpu_id: int) -> tuple[float | None, float | None]:
        """Total and free bytes of a device's memory: the GPU's, the simulated GPU's, or the machine's."""
        settings = self._hub.settings
        kind = settings.devices[gpu_id].kind
        if kind == "sim":
            used = self._hub.figures[gpu_id].memory_bytes
            total = settings.law.memory_total_bytes
            return total, None if used is None else max(0.0, total - used)
        if kind == "cpu":
            return self._host.memory_total_bytes, self._host.memory_available_bytes
        reading = self._reading(gpu_id)
        if reading is None or reading.memory_total_bytes is None or reading.memory_used_bytes is None:
            return None, None
        return reading.memory_total_bytes, reading.memory_total_bytes - reading.memory_used_bytes

    def _gpu(self, gpu_id: int) -> wire.GpuEntry:
        hub = self._hub
        gpu, worker, figures = hub.slots.gpus[gpu_id], hub.workers[gpu_id], hub.figures[gpu_id]
        device, reading, usage = worker.device, self._reading(gpu_id), self._usage.get(gpu_id)
        total, free = self._memory(gpu_id)
        used = total - free if total is not None and free is not None else None
        names = {"cpu": wire.CPU_NAME, "sim": f"simulated GPU {gpu_id}", "cuda": reading.name if reading else None}
        return wire.GpuEntry(
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
            state="draining" if hub.draining.on and gpu.state == "ready" else gpu.state,
            gpu_utilization_percent=reading.gpu_utilization_percent if reading else None,
            temperature_celsius=reading.temperature_celsius if reading else None,
            power_watts=reading.power_watts if reading else None,
            power_limit_watts=reading.power_limit_watts if reading else None,
            sm_clock_hertz=reading.sm_clock_hertz if reading else None,
            throttle_reasons=reading.throttle_reasons if reading else None,
            ecc_errors=reading.ecc_errors if reading else None,
            reading_age_seconds=round(time.monotonic() - reading.at, 3) if reading else None,
            reading_error=self._why_unread(device, reading),
            max_connections=gpu.limit,
            model=hub.settings.model,
            compute_type=worker.loaded.compute_type if worker.loaded else None,
            simulated=device.kind == "sim",
            speaking_streams=figures.speaking,
            batch_fill_mean=figures.batch_fill_mean,
            queue_wait_seconds_p95=figures.waits.quantiles(0.95)[0],
            compute_seconds_p95=figures.computes.quantiles(0.95)[0],
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
        hub, stats = self._hub, self._hub.stats
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
            paused_total=stats.paused,
            flooded_total=dict(hub.connection_limits.flooded),
            turned_away_total=hub.connection_limits.turned_away,
            telemetry_errors_total=self._meter.failures,
            misplaced_total=stats.misplaced + sum(s.misplaced for s in hub.sessions.values()),
        )

    def host(self) -> wire.Host:
        """The machine, at most a second old."""
        return self._host

    def engine(self) -> wire.Engine:
        """What runs the model."""
        settings = self._hub.settings
        loaded = next((worker.loaded for worker in self._hub.workers if worker.loaded), None)
        return wire.Engine(
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


def _watch() -> Watch:
    nvml = Nvml()
    return Watch(nvml.read, trouble=lambda: nvml.trouble)


def _gb(value: float | None) -> float | None:
    return None if value is None else round(value / _GB, 3)
