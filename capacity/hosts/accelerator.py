"""What a GPU server needs besides the kernel's limits: a driver that answers, and the CUDA libraries of the engine."""

import ctypes.util
import importlib.util
from pathlib import Path

import msgspec

from whisper_ops.telemetry.nvml import Nvml
from whisper_ops.telemetry.nvml_reading import GpuReading

LIBRARIES = ("cublas", "cudnn")


class Accelerator(msgspec.Struct, frozen=True):
    """The GPUs of this machine, and the libraries that the engine needs of them."""

    driver: str | None
    gpus: tuple[str, ...]
    """The names of those that can be read."""
    libraries: dict[str, str | None]
    """Where each CUDA library was found; None: nowhere."""
    advice: tuple[str, ...]
    reading_error: str | None = None
    """Why no GPU can be read; None: they can."""
    unreadable: tuple[str, ...] = ()
    """A sentence for each GPU that is there but cannot be read."""


def read_accelerator(nvml: Nvml | None = None) -> Accelerator:
    """Ask the driver through NVML, and look for the libraries where the engine would: the loader's path and wheels."""
    nvml = nvml or Nvml()
    readings = nvml.read_once()
    libraries = {name: _library(name) for name in LIBRARIES}
    unreadable = tuple(_unreadable(number, gpu) for number, gpu in enumerate(readings) if gpu.error is not None)
    return Accelerator(
        nvml.driver if nvml.trouble is None else None,
        tuple(gpu.name or "unnamed GPU" for gpu in readings if gpu.error is None),
        libraries,
        (*_advice(nvml, [name for name, found in libraries.items() if found is None]), *unreadable),
        reading_error=nvml.trouble,
        unreadable=unreadable,
    )


def _advice(nvml: Nvml, missing: list[str]) -> list[str]:
    if nvml.missing:
        return ["no NVIDIA driver answers: the server will use the processor"]
    if nvml.trouble is not None:
        return [f"no GPU can be used: {nvml.trouble}"]
    if missing:
        packages = " ".join(f"nvidia-{name}-cu12" for name in missing)
        return [f"the engine needs {' and '.join(missing)}: install {packages} where whisper-ops is installed"]
    return []


def _unreadable(number: int, gpu: GpuReading) -> str:
    what = " ".join(part for part in (gpu.name, gpu.uuid) if part)
    return f"GPU {number}{f' ({what})' if what else ''} cannot be read: {gpu.error}"


def _library(name: str) -> str | None:
    found = ctypes.util.find_library(name)
    if found:
        return found
    try:
        package = importlib.util.find_spec(f"nvidia.{name}")
    except ModuleNotFoundError:
        return None
    places = [] if package is None else [Path(place) for place in package.submodule_search_locations or ()]
    return next((str(lib) for place in places for lib in sorted(place.glob("lib/lib*.so*"))), None)
