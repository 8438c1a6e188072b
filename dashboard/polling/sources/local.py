"""This machine and its GPUs, with no server at all: NVML and psutil, read in a thread."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from whisper_ops import wire
from whisper_ops.identity import Identity
from whisper_ops.known_software import LOCAL
from whisper_ops.snapshot import GpuFigures, ServerFigures, Snapshot
from whisper_ops.snapshot_client.source import Remarks, SourceError
from whisper_ops.telemetry.host_meter import HostMeter, machine
from whisper_ops.telemetry.nvml import Nvml
from whisper_ops.telemetry.nvml_reading import GpuReading


class LocalSource:
    """Reads the machine that the dashboard or recorder runs on. NVML may hang: only this source's own thread waits."""

    def __init__(self, name: str = "local", nvml: Nvml | None = None) -> None:
        self.name = name
        self.remarks = Remarks()
        self._nvml = nvml or Nvml()
        self._meter: HostMeter | None = None
        self._pool = ThreadPoolExecutor(1, "local")
        self._reading: asyncio.Future[Snapshot] | None = None

    async def read(self) -> Snapshot:
        """One reading. While an earlier one still hangs no other is started."""
        if self._reading is not None and not self._reading.done():
            raise SourceError(f"the readings of {self.name} hang: NVML does not answer")
        loop = asyncio.get_running_loop()
        self._reading = loop.run_in_executor(self._pool, self._read)
        # Who waited may have given up by then: nobody else asks what became of it.
        self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._reading)

    async def close(self) -> None:
        """Let go of the thread; one that hangs is left behind."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> Snapshot:
        began = time.perf_counter()
        self._meter = self._meter or HostMeter()
        gpus = tuple(_gpu(number, reading) for number, reading in enumerate(self._nvml.read()))
        names = sorted({gpu.name for gpu in gpus if gpu.name})
        return Snapshot(
            server=self.name,
            at=time.time(),
            poll_seconds=time.perf_counter() - began,
            identity=Identity(software=LOCAL, gpu_name=" + ".join(names) or None),
            # A machine without such a driver is not broken, unless it had one.
            figures=ServerFigures(
                gpus=len(gpus), reading_error=self._nvml.trouble if gpus or not self._nvml.missing else None
            ),
            gpus=gpus,
            host=machine(self._meter),
        )


def _gpu(number: int, reading: GpuReading) -> GpuFigures:
    percent, throttled = reading.gpu_utilization_percent, reading.throttle_reasons
    return GpuFigures(
        **wire.readings_of(reading),
        gpu_id=number,
        uuid=reading.uuid,
        name=reading.name,
        memory_total_bytes=reading.memory_total_bytes,
        memory_used_bytes=reading.memory_used_bytes,
        gpu_ratio=None if percent is None else percent / 100,
        throttle_reasons=None if throttled is None else ",".join(throttled),
        ecc_errors=reading.ecc_errors,
        reading_error=reading.error,
    )
