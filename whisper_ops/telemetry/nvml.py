"""NVIDIA's readings, in a thread with a deadline: a hung driver must not hang the server.

NVML and CUDA number GPUs differently, so the two are matched by UUID, through CUDA_VISIBLE_DEVICES where it is set.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

DEADLINE_SECONDS = 2.0

THROTTLES = {
    0x2: "applications_clocks",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
}


@dataclass(frozen=True)
class Reading:
    """One GPU at one moment; None: this GPU or driver does not say."""

    at: float
    name: str | None = None
    uuid: str | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    gpu_utilization_percent: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    sm_clock_hertz: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    ecc_errors: int | None = None


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


class Nvml:
    """Reads the GPUs that this process may use, in CUDA's order."""

    def __init__(self, library: Any = None) -> None:  # noqa: ANN401  # pynvml, or a recording of it
        self._library = library
        self._handles: list[Any] = []
        self._opened = False

    def _open(self) -> None:
        self._opened = True
        if self._library is None:
            import pynvml  # noqa: PLC0415  # a machine without NVIDIA still imports this module

            self._library = pynvml
        nvml = self._library
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        if chosen and chosen.startswith("MIG-"):
            self._handles = [nvml.nvmlDeviceGetHandleByUUID(uuid.strip()) for uuid in chosen.split(",")]
            return
        uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        self._handles = [handles[i] for i in visible(uuids, list(range(len(handles))), chosen)]

    def read(self) -> list[Reading]:
        """Every GPU now; empty where NVML is missing or fails. Blocks for as long as the driver likes."""
        try:
            if not self._opened:
                self._open()
            return [self._one(handle) for handle in self._handles]
        except Exception:  # noqa: BLE001  # no driver, no GPU, a library of another version: all mean no readings
            return []

    def _one(self, handle: Any) -> Reading:  # noqa: ANN401  # NVML's handles are opaque
        nvml = self._library

        def ask(function: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever NVML answers
            try:
                return function()
            except Exception:  # noqa: BLE001  # NVML says "not supported" by raising
                return None

        memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        rates = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        power = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        limit = ask(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        clock = ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        reasons = ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        return Reading(
            at=time.monotonic(),
            name=_text(ask(lambda: nvml.nvmlDeviceGetName(handle))),
            uuid=_text(ask(lambda: nvml.nvmlDeviceGetUUID(handle))),
            memory_total_bytes=memory.total if memory else None,
            memory_used_bytes=memory.used if memory else None,
            gpu_utilization_percent=float(rates.gpu) if rates else None,
            temperature_celsius=ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            power_watts=power / 1000 if power is not None else None,
            power_limit_watts=limit / 1000 if limit is not None else None,
            sm_clock_hertz=clock * 1e6 if clock is not None else None,
            throttle_reasons=None if reasons is None else tuple(n for bit, n in THROTTLES.items() if reasons & bit),
            ecc_errors=ask(
                lambda: nvml.nvmlDeviceGetTotalEccErrors(
                    handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                )
            ),
        )


def _text(value: Any) -> Any:  # noqa: ANN401  # older drivers' bindings answer in bytes
    return value.decode() if isinstance(value, bytes) else value


class Watch:
    """Reads NVML once a second in a thread of its own; `readings` keeps the last answer, however old."""

    def __init__(
        self, read: Callable[[], list[Reading]], interval: float = 1.0, deadline: float = DEADLINE_SECONDS
    ) -> None:
        self.readings: list[Reading] = []
        self.hung = False
        self._read, self._interval, self._deadline = read, interval, deadline

    async def run(self) -> None:
        """Read until cancelled. While one read hangs no other is started."""
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(1, "nvml")
        try:
            while True:
                reading = asyncio.ensure_future(loop.run_in_executor(pool, self._read))
                while not reading.done():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(asyncio.shield(reading), self._deadline)
                    self.hung = not reading.done()
                self.readings = reading.result()
                await asyncio.sleep(self._interval)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
