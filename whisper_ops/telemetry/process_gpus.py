"""What some processes use of this machine's NVIDIA GPUs, as NVML counts it by process id."""

import contextlib
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from whisper_ops.telemetry.nvml import library_of


class GpuUse(NamedTuple):
    """Of all GPUs together. None: the driver does not say, as in many containers."""

    ratio: float | None
    """GPUs' worth of computing time: 1.5 is one and a half GPUs busy."""
    memory_bytes: float | None


class ProcessGpus:
    """Reads the use of processes; blocks for as long as the driver likes, so ask in a thread."""

    def __init__(self, library: Any = None) -> None:  # noqa: ANN401  # pynvml, or a recording of it
        self._nvml = library
        self._handles: list[Any] = []
        self._since = int(time.time() * 1e6)
        with contextlib.suppress(Exception):  # no driver, no library: each has an error of its own
            self._nvml = library_of(self._nvml)
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            self._handles = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]

    def read(self, pids: Collection[int]) -> GpuUse:
        """What these processes use now."""
        if not self._handles:
            return GpuUse(None, None)
        now = int(time.time() * 1e6)
        memory = [held for handle in self._handles if (held := self._memory(handle, pids)) is not None]
        ratios = [share for handle in self._handles if (share := self._ratio(handle, pids)) is not None]
        self._since = now
        return GpuUse(sum(ratios) if ratios else None, sum(memory) if memory else None)

    def _memory(self, handle: Any, pids: Collection[int]) -> float | None:  # noqa: ANN401  # NVML's own
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except Exception:  # noqa: BLE001  # whatever it is, this figure is not known
            return None
        held = [process.usedGpuMemory for process in running if process.pid in pids]
        return None if None in held else float(sum(held))

    def _ratio(self, handle: Any, pids: Collection[int]) -> float | None:  # noqa: ANN401  # NVML's own
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(handle, self._since)
        except Exception as error:  # noqa: BLE001  # whatever it is, this figure is not known
            # No process computed anything since the reading before.
            return 0.0 if getattr(error, "value", None) == getattr(self._nvml, "NVML_ERROR_NOT_FOUND", 6) else None
        latest = {sample.pid: float(sample.smUtil) for sample in samples if sample.pid in pids and sample.smUtil <= 100}
        return sum(latest.values()) / 100
