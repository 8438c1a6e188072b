"""What NVML's errors mean: of which GPU or figure they are, and what to do. The numbers are nvmlReturn_t's."""


class DriverGoneError(Exception):
    """No GPU can be asked any more: the driver went, or was replaced under us."""


LIBRARY_NOT_FOUND = 12
_DRIVER_GONE = {1, 9, LIBRARY_NOT_FOUND, 18}
"""nvmlReturn_t, which never changes: uninitialized, driver not loaded, library not found, versions differ."""
LOST = {15, 16}
"""GPU is lost, reset required."""
NO_SUCH_FIGURE = {2, 3, 4, 6, 13, 14, 21, 25, 26, 27}
"""Invalid argument, not supported, no permission, not found, no function, no inforom, no data, other struct, old."""
_WORDS = {
    4: "this user may not ask the NVIDIA driver",
    6: "the driver lists no such GPU",
    9: "the NVIDIA driver is not loaded; `modprobe nvidia` loads it, and `dmesg` says why it was not",
    LIBRARY_NOT_FOUND: "there is no NVIDIA driver: its library libnvidia-ml.so.1 was not found",
    15: "it is lost: it fell off the bus or stopped answering; only a reset or a reboot brings it back",
    16: "it needs a reset before it can be used again: `nvidia-smi --gpu-reset`, or a reboot",
    18: "version mismatch: NVIDIA's driver in the kernel and its library differ, as after an update; a reboot mends it",
}


def explained(error: BaseException) -> str:
    """What an error of NVML means and what to do, in one sentence."""
    if isinstance(error, DriverGoneError):
        return str(error)
    if isinstance(error, ImportError):
        return "nvidia-ml-py, which reads NVIDIA's GPUs, is not installed"
    words = _WORDS.get(code(error) or 0)
    return words or f"NVML says: {str(error) or type(error).__name__}"


def code(error: BaseException) -> int | None:
    """The number that NVML answered with; None of an error that is not its own."""
    value = getattr(error, "value", None)
    return value if isinstance(value, int) else None


def raise_if_driver_gone(error: BaseException) -> None:
    """Let through what is wrong with one GPU or one figure only."""
    if isinstance(error, DriverGoneError) or code(error) in _DRIVER_GONE:
        raise DriverGoneError(explained(error)) from error
