"""What a GPU server needs beside the kernel's limits: a driver that answers, and the CUDA libraries of the engine."""

import ctypes.util
import importlib.util
from pathlib import Path

import msgspec

LIBRARIES = ("cublas", "cudnn")


class Accelerator(msgspec.Struct, frozen=True):
    """What was found."""

    driver: str | None
    gpus: tuple[str, ...]
    libraries: dict[str, str | None]
    """Where each CUDA library was found; None: nowhere."""
    advice: tuple[str, ...]


def read_accelerator() -> Accelerator:
    """Ask the driver through NVML, and look for the libraries where the engine would: the loader's path and wheels."""
    driver, gpus = _driver()
    libraries = {name: _library(name) for name in LIBRARIES}
    missing = [name for name, found in libraries.items() if found is None]
    advice = []
    if driver is None:
        advice.append("no NVIDIA driver answers: the server will use the processor")
    elif missing:
        packages = " ".join(f"nvidia-{name}-cu12" for name in missing)
        advice.append(f"the engine needs {' and '.join(missing)}: install {packages} beside whisper-ops")
    return Accelerator(driver, tuple(gpus), libraries, tuple(advice))


def _driver() -> tuple[str | None, list[str]]:
    import pynvml  # noqa: PLC0415  # only doctor needs it, and it looks for a library when it is used

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None, []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return str(pynvml.nvmlSystemGetDriverVersion()), [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except pynvml.NVMLError:
        return None, []
    finally:
        pynvml.nvmlShutdown()


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
