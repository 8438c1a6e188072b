"""What a level costs: the GPU's readings, and what used the host. Needs no package but those of torch."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")


def say(text: object) -> None:
    """A line of the answer."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def narrate(text: object) -> None:
    """A line of what goes on."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class Gpu:
    """The first GPU by NVML; without one, or without its package, every reading is None."""

    def __init__(self, index: int | None) -> None:
        self.why_not: str | None = None
        self._nvml: Any = None
        if index is None:
            self.why_not = "no GPU is used"
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            self._nvml, self._handle = pynvml, pynvml.nvmlDeviceGetHandleByIndex(index)
        except Exception as error:  # noqa: BLE001  # whatever is missing, the rest can be measured
            self.why_not = f"NVML cannot be read: {error}"

    def read(self) -> dict[str, float | None]:
        """One reading; what cannot be read is None."""
        names: dict[str, Any] = {
            "utilization_percent": lambda n, h: n.nvmlDeviceGetUtilizationRates(h).gpu,
            "memory_used_bytes": lambda n, h: n.nvmlDeviceGetMemoryInfo(h).used,
            "memory_total_bytes": lambda n, h: n.nvmlDeviceGetMemoryInfo(h).total,
            "power_watts": lambda n, h: n.nvmlDeviceGetPowerUsage(h) / 1000,
            "power_limit_watts": lambda n, h: n.nvmlDeviceGetEnforcedPowerLimit(h) / 1000,
            "energy_joules": lambda n, h: n.nvmlDeviceGetTotalEnergyConsumption(h) / 1000,
            "temperature_celsius": lambda n, h: n.nvmlDeviceGetTemperature(h, 0),
            "sm_clock_mhz": lambda n, h: n.nvmlDeviceGetClockInfo(h, 1),
            "throttle_bits": lambda n, h: n.nvmlDeviceGetCurrentClocksThrottleReasons(h),
        }
        found: dict[str, float | None] = {}
        for name, ask in names.items():
            found[name] = None
            if self._nvml is not None:
                with contextlib.suppress(Exception):
                    found[name] = float(ask(self._nvml, self._handle))
        return found


@dataclass
class Readings:
    """One a second, while a block runs."""

    rows: list[dict[str, float | None]] = field(default_factory=list)

    def mean(self, name: str) -> float | None:
        known = [row[name] for row in self.rows if row.get(name) is not None]
        return sum(known) / len(known) if known else None  # type: ignore[arg-type]  # None was left out

    def first_to_last(self, name: str) -> float | None:
        known = [row[name] for row in self.rows if row.get(name) is not None]
        return known[-1] - known[0] if len(known) > 1 else None  # type: ignore[operator]  # None was left out


@contextlib.contextmanager
def watched(gpu: Gpu) -> Iterator[Readings]:
    """Read the GPU each half second beside what happens in the block."""
    readings, over = Readings(), threading.Event()

    def read() -> None:
        while True:
            readings.rows.append({"at": time.monotonic(), **gpu.read()})
            if over.wait(0.5):
                return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        over.set()
        thread.join(5)


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Seconds of a core that a process used so far: all of it, and its first thread (the event loop)."""
    return _stat(Path(f"/proc/{pid}/stat")), _stat(Path(f"/proc/{pid}/task/{pid}/stat"))


def _stat(path: Path) -> float:
    try:
        fields = path.read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK
