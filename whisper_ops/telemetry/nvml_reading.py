"""One GPU at one moment, as NVML tells it."""

import time
from typing import Any, NamedTuple

from whisper_ops.telemetry.nvml_errors import LOST, NO_SUCH_FIGURE, code, explained, raise_if_driver_gone
from whisper_ops.untrusted_text import one_line
from whisper_ops.wire import DeviceReadings

THROTTLES = {
    0x2: "applications_clocks",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
}


_RECENT_SECONDS = 3.0
NOT_FOUND = 6
"""NVML's word for no sample since."""


class GpuProcess(NamedTuple):
    pid: int
    name: str | None
    """Of its program; None: it may not be asked, or is gone."""
    busy_ratio: float | None
    """Share of the GPU's time in the last seconds; None: the driver does not say."""

    @property
    def title(self) -> str:
        """`python3 (4711)`."""
        return f"{self.name or 'process'} ({self.pid})"


class GpuReading(DeviceReadings, frozen=True, kw_only=True):
    """One GPU at one moment; None: this GPU or driver does not say."""

    at: float
    name: str | None = None
    uuid: str | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    gpu_utilization_percent: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    ecc_errors: int | None = None
    processes: tuple[GpuProcess, ...] | None = None
    """Those that compute on it, by the machine's own numbers, which are not those inside a container."""
    error: str | None = None
    """Why this GPU cannot be read at the moment, in one sentence; what it always is, its name and memory, stays."""


class GpuQuery:
    """One GPU, asked for each figure apart: what it does not have is None, what is wrong with it is `fault`."""

    def __init__(self, library: Any, handle: Any) -> None:  # noqa: ANN401  # NVML's handles are opaque
        self.fault: str | None = None
        self._nvml = library
        self._handle = handle
        self._failed: Exception | None = None

    def _ask(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401  # whatever NVML answers
        if self.fault is not None:
            return None
        try:
            return getattr(self._nvml, name)(self._handle, *arguments)
        except Exception as error:  # noqa: BLE001  # NVML says "not supported" by raising
            raise_if_driver_gone(error)
            if code(error) in LOST:
                self.fault = explained(error)
            elif code(error) not in NO_SUCH_FIGURE:
                self._failed = self._failed or error
            return None

    def reading(self) -> GpuReading:
        nvml, ask = self._nvml, self._ask
        name, uuid = text(ask("nvmlDeviceGetName")), text(ask("nvmlDeviceGetUUID"))
        memory = ask("nvmlDeviceGetMemoryInfo")
        rates = ask("nvmlDeviceGetUtilizationRates")
        temperature = ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU)
        power = ask("nvmlDeviceGetPowerUsage")
        limit = ask("nvmlDeviceGetEnforcedPowerLimit")
        clock = ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        if self._failed is not None and all(figure is None for figure in (memory, rates, temperature, power, clock)):
            self.fault = explained(self._failed)
        return GpuReading(
            at=time.monotonic(),
            name=name,
            uuid=uuid,
            memory_total_bytes=memory.total if memory else None,
            memory_used_bytes=memory.used if memory else None,
            gpu_utilization_percent=float(rates.gpu) if rates else None,
            temperature_celsius=temperature,
            power_watts=power / 1000 if power is not None else None,
            power_limit_watts=limit / 1000 if limit is not None else None,
            memory_busy_ratio=rates.memory / 100 if rates else None,
            sm_clock_hertz=clock * 1e6 if clock is not None else None,
            throttle_reasons=None if reasons is None else tuple(n for bit, n in THROTTLES.items() if reasons & bit),
            ecc_errors=ask(
                "nvmlDeviceGetTotalEccErrors", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            ),
            processes=self._processes(),
        )

    def _processes(self) -> tuple[GpuProcess, ...] | None:
        """Who computes on it. Old boards and some containers do not tell; that is no fault of the GPU."""
        if self.fault is not None:
            return None
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except Exception as error:  # noqa: BLE001  # as above
            raise_if_driver_gone(error)
            return None
        busy = self._busy_by_process()
        return tuple(
            GpuProcess(one.pid, _program(one.pid), None if busy is None else busy.get(one.pid, 0.0)) for one in running
        )

    def _busy_by_process(self) -> dict[int, float] | None:
        since = int((time.time() - _RECENT_SECONDS) * 1e6)
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(self._handle, since)
        except Exception as error:  # noqa: BLE001  # as above
            raise_if_driver_gone(error)
            return {} if code(error) == NOT_FOUND else None  # none of them computed anything
        found: dict[int, list[float]] = {}
        for sample in samples:
            if sample.smUtil <= 100:
                found.setdefault(sample.pid, []).append(sample.smUtil / 100)
        return {pid: sum(shares) / len(shares) for pid, shares in found.items()}


def _program(pid: int) -> str | None:
    import psutil  # noqa: PLC0415  # only a machine with such a GPU asks

    try:
        return one_line(psutil.Process(pid).name(), 40)
    except (psutil.Error, ValueError):
        return None


def text(value: Any) -> Any:  # noqa: ANN401  # whatever NVML answers
    """A text; older bindings answer in bytes."""
    return value.decode() if isinstance(value, bytes) else value
