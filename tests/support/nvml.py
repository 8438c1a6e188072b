"""A driver that fails as NVIDIA's does in the field, with the real library's own error classes."""

from types import SimpleNamespace
from typing import Any

import pynvml

GB = 10**9


class StubNvml:
    """Stands in for `pynvml`: GPUs that are lost, a driver that comes late, goes, or differs from its library."""

    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    NVML_VOLATILE_ECC = pynvml.NVML_VOLATILE_ECC
    NVMLError = pynvml.NVMLError

    def __init__(self, *uuids: str) -> None:
        self.uuids = list(uuids)
        self.lost: set[str] = set()
        """GPUs that answer nothing any more; the driver still counts them."""
        self.error = 15
        """What a lost one answers: 15 is lost, 16 reset required, 999 unknown."""
        self.broken: int | None = None
        """What every call answers; None: the driver works."""
        self.handles_of_lost = True
        """Whether a lost GPU still has a handle, as one that was lost after the start."""
        self.starts = 0
        self.running: list[int] = []
        """Processes that compute on each GPU."""
        self.samples: list[tuple[int, int]] | int = 6
        """(process, per cent) in the last seconds, or what the driver answers instead: 6 is that there are none."""

    def _check(self) -> None:
        if self.broken is not None:
            raise pynvml.NVMLError(self.broken)

    def nvmlInit(self) -> None:  # noqa: N802  # NVML's own names
        self.starts += 1
        self._check()

    def nvmlShutdown(self) -> None:  # noqa: N802  # NVML's
        self._check()

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802  # NVML's
        self._check()
        return "570.133.20"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802  # NVML's
        self._check()
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802  # NVML's
        return self.nvmlDeviceGetHandleByUUID(self.uuids[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802  # NVML's
        self._check()
        if uuid not in self.uuids:
            raise pynvml.NVMLError_NotFound
        if uuid in self.lost and not self.handles_of_lost:
            raise pynvml.NVMLError(self.error)
        return uuid

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlDeviceGetUUID": None,
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * GB, used=20 * GB),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=37, memory=21),
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetPowerUsage": 250_500,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetClockInfo": 1980,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4,
        }

        def ask(handle: str, *_: object) -> Any:
            self._check()
            if handle in self.lost:
                raise pynvml.NVMLError(self.error)
            if name == "nvmlDeviceGetTotalEccErrors":
                raise pynvml.NVMLError_NotSupported
            if name == "nvmlDeviceGetComputeRunningProcesses":
                return [SimpleNamespace(pid=pid, usedGpuMemory=GB) for pid in self.running]
            if name == "nvmlDeviceGetProcessUtilization":
                if isinstance(self.samples, int):
                    raise pynvml.NVMLError(self.samples)
                return [SimpleNamespace(pid=pid, smUtil=percent) for pid, percent in self.samples]
            return handle if name == "nvmlDeviceGetUUID" else answers[name]

        return ask
