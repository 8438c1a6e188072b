"""The machine, its GPUs and the worker processes, measured once a second."""

import asyncio
import logging
import os
from functools import partial

from server.devices import WorkerDevice
from server.sessions.hub import Hub
from whisper_ops import wire
from whisper_ops.telemetry.host_meter import HostMeter, ProcessMeter, Usage
from whisper_ops.telemetry.nvml import Nvml
from whisper_ops.telemetry.nvml_reading import GpuProcess, GpuReading
from whisper_ops.telemetry.nvml_watch import NvmlWatch

log = logging.getLogger("whisper_ops.server")


class HostReadings:
    """The newest of each reading. `run` updates them, and the free memory that placement uses."""

    def __init__(self, hub: Hub, watch: NvmlWatch | None = None) -> None:
        self._hub = hub
        cuda = any(device.kind == "cuda" for device in hub.settings.devices)
        self._watch = watch or (_watch() if cuda else None)
        self._meter = HostMeter()
        self._meters: dict[int, ProcessMeter] = {}
        self._usage: dict[int, Usage | None] = {}
        self.host: wire.Host = self._meter.read(())
        """At most a second old."""
        self._failures_said = 0

    async def run(self) -> None:
        """Measure once a second until cancelled. A measurement that fails is unknown, and the server goes on."""
        async with asyncio.TaskGroup() as group:
            if self._watch is not None:
                group.create_task(self._watch_on(self._watch))
            group.create_task(self._measure())

    async def _watch_on(self, watch: NvmlWatch) -> None:
        while True:
            try:
                await watch.run()
            except Exception as error:  # noqa: BLE001  # a driver's fault must not end streams
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
        self.host = self._meter.read(self._usage.values())
        for gpu in self._hub.slots.gpus:
            self._hub.slots.set_free_memory(gpu.gpu_id, self.memory(gpu.gpu_id)[1])

    @property
    def failures(self) -> int:
        """Readings that failed so far."""
        return self._meter.failures

    @property
    def trouble(self) -> str | None:
        """Why no GPU can be read, for people; None: they can, or there are none."""
        return self._watch.trouble if self._watch is not None else None

    def usage(self, gpu_id: int) -> Usage | None:
        """The usage of a device's worker; None while it has none."""
        return self._usage.get(gpu_id)

    def gpu(self, gpu_id: int) -> GpuReading | None:
        """NVML's reading of a device; None for one that is no GPU, or without a reading."""
        device = self._hub.settings.devices[gpu_id]
        if device.kind != "cuda" or self._watch is None or device.index >= len(self._watch.readings):
            return None
        return self._watch.readings[device.index]

    def others(self, gpu_id: int) -> tuple[GpuProcess, ...] | None:
        """Other processes on a GPU. None: unknown, as in a container, where the driver has other process ids."""
        reading, worker = self.gpu(gpu_id), self._hub.workers[gpu_id]
        if reading is None or reading.processes is None or worker.pid not in {one.pid for one in reading.processes}:
            return None
        ours = {os.getpid(), *(each.pid for each in self._hub.workers)}
        return tuple(one for one in reading.processes if one.pid not in ours)

    def why_unread(self, device: WorkerDevice, reading: GpuReading | None) -> str | None:
        """Why a GPU has no reading; None where it has one, or the device is no GPU."""
        if device.kind != "cuda" or self._watch is None:
            return None
        if reading is not None:
            return reading.error or self._watch.trouble
        return self._watch.trouble or (None if not self._watch.read_once else f"the driver lists no GPU {device.index}")

    def memory(self, gpu_id: int) -> tuple[float | None, float | None]:
        """Total and free bytes of a device's memory: the GPU's, the simulated GPU's, or the machine's."""
        settings = self._hub.settings
        kind = settings.devices[gpu_id].kind
        if kind == "sim":
            used = self._hub.engine_stats[gpu_id].memory_bytes
            total = settings.law.memory_total_bytes
            return total, None if used is None else max(0.0, total - used)
        if kind == "cpu":
            return self.host.memory_total_bytes, self.host.memory_available_bytes
        reading = self.gpu(gpu_id)
        if reading is None or reading.memory_total_bytes is None or reading.memory_used_bytes is None:
            return None, None
        return reading.memory_total_bytes, reading.memory_total_bytes - reading.memory_used_bytes


def _watch() -> NvmlWatch:
    nvml = Nvml()
    return NvmlWatch(nvml.read, trouble=lambda: nvml.trouble)
