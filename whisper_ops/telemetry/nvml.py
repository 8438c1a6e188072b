"""NVIDIA's readings, each GPU apart.

NVML and CUDA number GPUs differently, so the two are matched by UUID, through CUDA_VISIBLE_DEVICES where it is set.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from whisper_ops.telemetry.nvml_device import NvmlDevice, RetryDelay, kept_in_place
from whisper_ops.telemetry.nvml_errors import (
    LIBRARY_NOT_FOUND,
    DriverGoneError,
    code,
    explained,
    raise_if_driver_gone,
)
from whisper_ops.telemetry.nvml_reading import GpuQuery, GpuReading, text

FIRST_SECONDS = 20.0
"""Where nothing keeps the driver awake, it sets up every GPU at the first question: some seconds for eight of them."""


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
        self._gpus: list[NvmlDevice] = []
        self._opened = False
        self._count = 0
        self._retry = RetryDelay(clock)

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
        if not self._opened and self._retry.due():
            self._try_to_open()
        readings: list[GpuReading] = []
        for gpu in self._gpus:
            try:
                readings.append(self._read_device(gpu))
            except DriverGoneError as gone:
                self._close(str(gone))
                readings.append(gpu.unreadable(self.trouble))
        return readings

    def _try_to_open(self) -> None:
        try:
            self._open()
        except Exception as error:  # noqa: BLE001  # no driver, no library, one of another version: each has its words
            self._close(explained(error))
            self.missing = code(error) == LIBRARY_NOT_FOUND or isinstance(error, ImportError)
            self._retry.failed()
            return
        self.missing = False
        if not self._count:
            self.trouble = "the NVIDIA driver lists no GPU"
            self._retry.failed()
            return
        self._opened, self.trouble = True, None
        self._retry.worked()

    def _close(self, why: str) -> None:
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
            found = [self._device(uuid=uuid.strip()) for uuid in chosen.split(",")]
            self._count = len(found)
        else:
            self._count = nvml.nvmlDeviceGetCount()
            found = self._visible([self._device(index=i) for i in range(self._count)], chosen)
        self._gpus = kept_in_place(self._gpus, found)

    def _visible(self, devices: list[NvmlDevice], chosen: str | None) -> list[NvmlDevice]:
        uuids = [gpu.uuid or "" for gpu in devices]
        found = [devices[i] for i in visible(uuids, list(range(len(devices))), chosen)]
        entries = [] if chosen is None else [entry.strip() for entry in chosen.split(",")]
        if len(found) < len(entries) and entries[len(found)].startswith("GPU-"):
            # CUDA's list ends here. That it does is worth a line of its own: the GPU that was meant may be lost.
            found.append(self._device(uuid=entries[len(found)]))
        return found

    def _device(self, index: int | None = None, uuid: str | None = None) -> NvmlDevice:
        gpu = NvmlDevice(clock=self._clock, index=index, uuid=uuid)
        self._acquire(gpu)
        return gpu

    def _acquire(self, gpu: NvmlDevice) -> None:
        """Get the handle of a GPU, or note why it has none."""
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
        gpu.retry.worked()

    def _read_device(self, gpu: NvmlDevice) -> GpuReading:
        if gpu.handle is None and self._opened and gpu.retry.due():
            self._acquire(gpu)
        if gpu.handle is None:
            return gpu.unreadable(self.trouble)
        query = GpuQuery(self._library, gpu.handle)
        reading = query.reading()
        gpu.name, gpu.uuid = reading.name or gpu.name, reading.uuid or gpu.uuid
        gpu.memory_total_bytes = reading.memory_total_bytes or gpu.memory_total_bytes
        if query.fault is not None:
            gpu.lost(query.fault)
            return gpu.unreadable(self.trouble)
        return reading


def _quiet(function: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever NVML answers
    try:
        return function()
    except Exception as error:  # noqa: BLE001  # NVML says "not supported" by raising
        raise_if_driver_gone(error)
        return None


def gpu_names() -> list[str]:
    """The names of the GPUs that this process may use; none where no driver tells."""
    return [reading.name for reading in Nvml().read_once() if reading.name]
