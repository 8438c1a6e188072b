"""NVIDIA's readings, each GPU apart, in a thread with a deadline: a hung driver must not hang the server.

NVML and CUDA number GPUs differently, so the two are matched by UUID, through CUDA_VISIBLE_DEVICES where it is set.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from whisper_ops.telemetry.nvml_errors import (
    LIBRARY_NOT_FOUND,
    DriverGoneError,
    code,
    explained,
    raise_if_driver_gone,
)
from whisper_ops.telemetry.nvml_reading import THROTTLES, GpuQuery, GpuReading, text

__all__ = ["THROTTLES", "GpuReading", "Nvml", "NvmlWatch", "RetryDelay", "gpu_names", "library_of", "visible"]

DEADLINE_SECONDS = 2.0
FIRST_SECONDS = 20.0
"""Where nothing keeps the driver awake, it sets up every GPU at the first question: some seconds for eight of them."""
BACKOFF_SECONDS = (1.0, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
"""A driver often comes some seconds after the server that a boot starts; one that is not there costs nothing to ask."""


def visible(uuids: list[str], pci_order: list[int], chosen: str | None) -> list[int]:
    """NVML indices in CUDA's order. `pci_order`: NVML's own, by bus. `chosen`: CUDA_VISIBLE_DEVICES.

    As CUDA does, the list ends at the first entry that names no device. Numbers are read in bus order, which is CUDA's
    own with CUDA_DEVICE_ORDER=PCI_BUS_ID and on machines whose GPUs are all alike.
    """
    if chosen is None:
        return pci_order
    found: list[int] = []
    for entry in (part.strip() for part in chosen.split(",")):
        if entry.isdecimal() and int(entry) < len(pci_order):
            found.append(pci_order[int(entry)])
            continue
        matches = [i for i, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        if len(matches) != 1:
            break
        found.append(matches[0])
    return found


def library_of(library: Any = None) -> Any:  # noqa: ANN401  # pynvml, or a recording of it
    """NVIDIA's library, for the modules beside this one; nobody else opens it."""
    if library is not None:
        return library
    import pynvml  # noqa: PLC0415  # a machine without NVIDIA still imports this module

    return pynvml


class Nvml:
    """Reads the GPUs that this process may use, in CUDA's order, each apart: one that is lost hides no other.

    A GPU once seen keeps its place in the list. What fails is tried again, with growing pauses.
    """

    def __init__(self, library: Any = None, clock: Callable[[], float] = time.monotonic) -> None:  # noqa: ANN401  # pynvml, or a recording of it
        self.trouble: str | None = None
        """Why NVML itself gives nothing at the moment, in one sentence; None: it works."""
        self.missing = False
        """Whether there is no driver on this machine at all, as on every machine without such a GPU."""
        self.driver: str | None = None
        """The driver's version."""
        self._library = library
        self._clock = clock
        self._gpus: list[_Gpu] = []
        self._opened = False
        self._count = 0
        self._again = RetryDelay(clock)

    def read_once(self, deadline: float = FIRST_SECONDS) -> list[GpuReading]:
        """Every GPU now, for a command that asks once. A driver that does not answer in time is a `trouble`."""
        readings: list[list[GpuReading]] = []
        # A thread that a hung driver holds must not hold the program's end.
        asking = threading.Thread(target=lambda: readings.append(self.read()), name="nvml", daemon=True)
        asking.start()
        asking.join(deadline)
        if not readings:
            self.trouble = f"the NVIDIA driver has not answered for {deadline:.0f} s"
            return []
        return readings[0]

    def read(self) -> list[GpuReading]:
        """Every GPU now; never raises. Blocks for as long as the driver likes."""
        if not self._opened and self._again.due():
            self._try_to_open()
        readings: list[GpuReading] = []
        for gpu in self._gpus:
            try:
                readings.append(self._one(gpu))
            except DriverGoneError as gone:
                self._let_go(str(gone))
                readings.append(gpu.unreadable(self.trouble))
        return readings

    def _try_to_open(self) -> None:
        try:
            self._open()
        except Exception as error:  # noqa: BLE001  # no driver, no library, one of another version: each has its words
            self._let_go(explained(error))
            self.missing = code(error) == LIBRARY_NOT_FOUND or isinstance(error, ImportError)
            self._again.failed()
            return
        self.missing = False
        if not self._count:
            self.trouble = "the NVIDIA driver lists no GPU"
            self._again.failed()
            return
        self._opened, self.trouble = True, None
        self._again.worked()

    def _let_go(self, why: str) -> None:
        self.trouble, self._opened = why, False
        for gpu in self._gpus:
            gpu.handle = None
        if self._library is not None:
            with contextlib.suppress(Exception):
                self._library.nvmlShutdown()

    def _open(self) -> None:
        nvml = self._library = library_of(self._library)
        nvml.nvmlInit()
        with contextlib.suppress(Exception):
            self.driver = text(nvml.nvmlSystemGetDriverVersion())
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        if chosen and chosen.startswith("MIG-"):
            found = [self._found(uuid=uuid.strip()) for uuid in chosen.split(",")]
            self._count = len(found)
        else:
            self._count = nvml.nvmlDeviceGetCount()
            found = self._visible([self._found(index=i) for i in range(self._count)], chosen)
        self._gpus = _kept(self._gpus, found)

    def _visible(self, all_of_them: list["_Gpu"], chosen: str | None) -> list["_Gpu"]:
        uuids = [gpu.uuid or "" for gpu in all_of_them]
        found = [all_of_them[i] for i in visible(uuids, list(range(len(all_of_them))), chosen)]
        entries = [] if chosen is None else [entry.strip() for entry in chosen.split(",")]
        if len(found) < len(entries) and entries[len(found)].startswith("GPU-"):
            # CUDA's list ends here. That it does is worth a line of its own: the GPU that was meant may be lost.
            found.append(self._found(uuid=entries[len(found)]))
        return found

    def _found(self, index: int | None = None, uuid: str | None = None) -> "_Gpu":
        gpu = _Gpu(clock=self._clock, index=index, uuid=uuid)
        self._take(gpu)
        return gpu

    def _take(self, gpu: "_Gpu") -> None:
        """Get hold of a GPU, or note why not."""
        nvml = self._library
        try:
            if gpu.index is not None:
                handle = nvml.nvmlDeviceGetHandleByIndex(gpu.index)
                known, now = gpu.uuid, _quiet(lambda: text(nvml.nvmlDeviceGetUUID(handle)))
                if known is not None and now is not None and known != now:
                    handle = nvml.nvmlDeviceGetHandleByUUID(known)  # with a GPU gone, others have moved up
                else:
                    gpu.uuid = now or known
            else:
                handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with this GPU is wrong with no other
            raise_if_driver_gone(error)
            gpu.lost(explained(error))
            return
        gpu.handle, gpu.why = handle, None
        gpu.again.worked()

    def _one(self, gpu: "_Gpu") -> GpuReading:
        if gpu.handle is None and self._opened and gpu.again.due():
            self._take(gpu)
        if gpu.handle is None:
            return gpu.unreadable(self.trouble)
        asked = GpuQuery(self._library, gpu.handle)
        reading = asked.reading()
        gpu.name, gpu.uuid = reading.name or gpu.name, reading.uuid or gpu.uuid
        gpu.memory_total_bytes = reading.memory_total_bytes or gpu.memory_total_bytes
        if asked.fault is not None:
            gpu.lost(asked.fault)
            return gpu.unreadable(self.trouble)
        return reading


class RetryDelay:
    """When to try something that failed: soon at first, and then ever less often."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._at = float("-inf")

    def due(self) -> bool:
        return self._clock() >= self._at

    def failed(self) -> None:
        self._at = self._clock() + BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
        self._failures += 1

    def worked(self) -> None:
        self._failures, self._at = 0, float("-inf")


class _Gpu:
    """A GPU's place in the list, and what is known of it while it cannot be read."""

    def __init__(self, clock: Callable[[], float], index: int | None = None, uuid: str | None = None) -> None:
        self.index, self.uuid = index, uuid
        self.why: str | None = None
        self.name: str | None = None
        self.memory_total_bytes: int | None = None
        self.handle: Any = None
        self.again = RetryDelay(clock)

    def lost(self, why: str) -> None:
        self.handle, self.why = None, why
        self.again.failed()

    def unreadable(self, trouble: str | None) -> GpuReading:
        return GpuReading(
            at=time.monotonic(),
            name=self.name,
            uuid=self.uuid,
            memory_total_bytes=self.memory_total_bytes,
            error=trouble or self.why or "it cannot be read",
        )


def _kept(before: list[_Gpu], found: list[_Gpu]) -> list[_Gpu]:
    """Those found anew, each in the place that it had; one that is gone keeps its own."""
    left, places = list(found), []
    for gpu in before:
        now = next((new for new in left if _same(gpu, new)), None)
        if now is None:
            gpu.lost("the driver lists it no more")
            places.append(gpu)
            continue
        left.remove(now)
        now.uuid, now.name, now.memory_total_bytes = now.uuid or gpu.uuid, gpu.name, gpu.memory_total_bytes
        places.append(now)
    return [*places, *left]


def _same(one: _Gpu, other: _Gpu) -> bool:
    if one.uuid is not None and other.uuid is not None:
        return one.uuid == other.uuid
    return one.index is not None and one.index == other.index  # one that was lost did not say its UUID


def _quiet(function: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever NVML answers
    try:
        return function()
    except Exception as error:  # noqa: BLE001  # NVML says "not supported" by raising
        raise_if_driver_gone(error)
        return None


def gpu_names() -> list[str]:
    """The names of the GPUs that this process may use; none where no driver tells."""
    return [reading.name for reading in Nvml().read_once() if reading.name]


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
