"""One reading of something that is watched, and what its processes use of the GPUs."""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

from whisper_ops.telemetry.process_gpus import GpuUse, ProcessGpus

_GPU_SECONDS = 2.0
"""How long a driver may take for an answer."""
UNKNOWN = GpuUse(None, None)


class ProcessUsage(NamedTuple):
    """CPU seconds used so far, or cores in use now; memory in bytes; and what is used of the GPUs."""

    cpu_seconds: float | None
    memory_bytes: float
    gpu: GpuUse = UNKNOWN
    cpu_ratio: float | None = None


class GpuReader:
    """What some processes use of the GPUs, asked beside the event loop. A driver that hangs is not asked again."""

    def __init__(self) -> None:
        self._gpus: ProcessGpus | None = None
        self._asking: asyncio.Task[GpuUse] | None = None

    async def read(self, pids: Collection[int]) -> GpuUse:
        """What they use now; nothing is known where the driver does not answer in time."""
        if self._asking is not None and not self._asking.done():
            return UNKNOWN
        self._asking = asyncio.create_task(asyncio.to_thread(self._ask, pids))
        done, _ = await asyncio.wait({self._asking}, timeout=_GPU_SECONDS)
        return self._asking.result() if done else UNKNOWN

    def _ask(self, pids: Collection[int]) -> GpuUse:
        if self._gpus is None:
            self._gpus = ProcessGpus()
        return self._gpus.read(pids)
