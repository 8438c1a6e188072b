"""NVML read in a thread, again and again: a hung driver must not hang the server."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from whisper_ops.telemetry.nvml_reading import GpuReading

DEADLINE_SECONDS = 2.0


class NvmlWatch:
    """Reads NVML once a second in a thread of its own; `readings` keeps the last answer, however old."""

    def __init__(
        self,
        read: Callable[[], list[GpuReading]],
        interval: float = 1.0,
        deadline: float = DEADLINE_SECONDS,
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.readings: list[GpuReading] = []
        self.hung = self.read_once = False
        self._read, self._interval, self._deadline, self._trouble = read, interval, deadline, trouble
        self._began = time.monotonic()

    @property
    def trouble(self) -> str | None:
        """Why there are no fresh readings, in one sentence; None: there are."""
        if self.hung:
            return f"the NVIDIA driver has not answered for {time.monotonic() - self._began:.0f} s"
        return self._trouble()

    async def run(self) -> None:
        """Read until cancelled. While one read hangs no other is started."""
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(1, "nvml")
        try:
            while True:
                self._began = time.monotonic()
                reading = asyncio.ensure_future(loop.run_in_executor(pool, self._read))
                while not reading.done():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(asyncio.shield(reading), self._deadline)
                    self.hung = not reading.done()
                self.readings, self.read_once = reading.result(), True
                await asyncio.sleep(self._interval)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
