"""A GPU's place in the list of NVML's devices, which it keeps while it cannot be read."""

import time
from collections.abc import Callable
from typing import Any

from whisper_ops.telemetry.nvml_reading import GpuReading

BACKOFF_SECONDS = (1.0, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
"""A driver often comes some seconds after the server that a boot starts; one that is not there costs nothing to ask."""


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


class NvmlDevice:
    """What is known of a GPU, its handle while it can be read, and why it cannot."""

    def __init__(self, clock: Callable[[], float], index: int | None = None, uuid: str | None = None) -> None:
        self.index, self.uuid = index, uuid
        self.why: str | None = None
        self.name: str | None = None
        self.memory_total_bytes: int | None = None
        self.handle: Any = None
        self.retry = RetryDelay(clock)

    def lost(self, why: str) -> None:
        self.handle, self.why = None, why
        self.retry.failed()

    def unreadable(self, trouble: str | None) -> GpuReading:
        return GpuReading(
            at=time.monotonic(),
            name=self.name,
            uuid=self.uuid,
            memory_total_bytes=self.memory_total_bytes,
            error=trouble or self.why or "it cannot be read",
        )


def kept_in_place(before: list[NvmlDevice], found: list[NvmlDevice]) -> list[NvmlDevice]:
    """The devices of `found`, each in the place that it had before; one that is gone keeps its own."""
    new, devices = list(found), []
    for old in before:
        now = next((device for device in new if _same(old, device)), None)
        if now is None:
            old.lost("the driver no longer lists it")
            devices.append(old)
            continue
        new.remove(now)
        now.uuid, now.name, now.memory_total_bytes = now.uuid or old.uuid, old.name, old.memory_total_bytes
        devices.append(now)
    return [*devices, *new]


def _same(one: NvmlDevice, other: NvmlDevice) -> bool:
    if one.uuid is not None and other.uuid is not None:
        return one.uuid == other.uuid
    return one.index is not None and one.index == other.index  # one that was lost did not say its UUID
