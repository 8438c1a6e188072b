"""`--devices`: what it may say, and what `auto` finds."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from whisper_ops.errors import UserError
from whisper_ops.formatting import counted

DeviceKind = Literal["cpu", "cuda", "sim"]


@dataclass(frozen=True)
class WorkerDevice:
    """One device that gets one worker process. `index` counts devices of its kind from 0."""

    kind: DeviceKind
    index: int

    @property
    def name(self) -> str:
        """As a user writes it: `cpu`, `cuda:1`, `sim:0`."""
        return "cpu" if self.kind == "cpu" else f"{self.kind}:{self.index}"


def parse(text: str, *, simulated: bool = False, torch: bool = False) -> tuple[WorkerDevice, ...]:
    """Read `auto`, `cpu,cpu`, `cuda:0,cuda:2` or, for the simulated engine, `sim:8` (eight devices).

    Raises:
        UserError: a name that is none of these, a GPU named twice, or simulated and real devices mixed.
    """
    if text == "auto":
        return _simulated(1) if simulated else _found(torch=torch)
    devices: list[WorkerDevice] = []
    for part in (part.strip() for part in text.split(",")):
        devices.extend(_one(part, text, len(devices)))
    if any((d.kind == "sim") != simulated for d in devices):
        raise UserError(f"--devices {text} does not fit the engine; simulated devices (sim:8) need --engine simulated")
    if len(set(devices)) != len(devices):
        raise UserError(f"--devices {text} names a GPU twice; one GPU gets one worker")
    return tuple(devices)


def check_present(devices: Sequence[WorkerDevice], *, torch: bool = False) -> None:
    """See that the engine can use every GPU that was named, before a worker dies of it again and again.

    Raises:
        UserError: one is not there.
    """
    named = [device for device in devices if device.kind == "cuda"]
    if not named:
        return
    count = _cuda_devices(torch=torch)
    missing = [device.name for device in named if device.index >= count]
    if missing:
        finder = "torch" if torch else "CTranslate2"
        found = counted(count, "CUDA GPU") if count else "no CUDA GPU"
        raise UserError(
            f"--devices names {', '.join(missing)}, and {finder} finds {found} here; see `nvidia-smi` and "
            "CUDA_VISIBLE_DEVICES, or use --devices cpu"
        )


def _one(part: str, text: str, position: int) -> tuple[WorkerDevice, ...]:
    kind, _, number = part.partition(":")
    if part == "cpu":
        return (WorkerDevice("cpu", position),)
    if kind == "cuda" and number.isdecimal():
        return (WorkerDevice("cuda", int(number)),)
    if kind == "sim" and number.isdecimal() and 1 <= int(number) <= 64:
        return _simulated(int(number))
    raise UserError(f"--devices {text}: {part!r} is not a device; use auto, cpu, cuda:0, or simulated: sim:1 to sim:64")


def _simulated(count: int) -> tuple[WorkerDevice, ...]:
    return tuple(WorkerDevice("sim", i) for i in range(count))


def _found(*, torch: bool) -> tuple[WorkerDevice, ...]:
    count = _cuda_devices(torch=torch)
    return tuple(WorkerDevice("cuda", i) for i in range(count)) or (WorkerDevice("cpu", 0),)


_ASK_TORCH = "import torch; print(torch.cuda.device_count())"


def _cuda_devices(*, torch: bool) -> int:
    # Asking the engine means what we find is what it can use; a build or machine without CUDA answers 0.
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return 0
    if torch:
        # In a process of its own: torch would take this one's memory for nothing, and CUDA does not survive a fork.
        asked = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, check=False)
        return int(asked.stdout) if asked.stdout.strip().isdecimal() else 0
    import ctranslate2  # noqa: PLC0415  # takes a second to import; only GPUs and `auto` need it

    return int(ctranslate2.get_cuda_device_count())
