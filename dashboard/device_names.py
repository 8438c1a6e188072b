"""What a device is called: a GPU by its number, and the processor that stands in for one by its own name."""

from collections.abc import Iterable, Sequence

from whisper_ops.formatting import counted
from whisper_ops.snapshot import GpuFigures


def device(gpu: GpuFigures) -> str:
    """In a row: `gpu 3`, `cpu`."""
    if not gpu.is_cpu:
        return f"gpu {gpu.gpu_id}"
    return f"cpu {gpu.gpu_id}" if gpu.gpu_id else "cpu"


def device_in_sentence(gpu: GpuFigures) -> str:
    """In a sentence: `GPU 3`, `the CPU`."""
    if not gpu.is_cpu:
        return f"GPU {gpu.gpu_id}"
    return f"CPU {gpu.gpu_id}" if gpu.gpu_id else "the CPU"


def noun(gpus: Sequence[GpuFigures]) -> str:
    """One of them in a sentence: `GPU`, or `CPU` where all are processors."""
    return "CPU" if gpus and all(gpu.is_cpu for gpu in gpus) else "GPU"


def devices_counted(gpus: Iterable[GpuFigures]) -> str:
    """`13 GPUs`, `12 GPUs and 1 CPU`, `no GPU`."""
    processors = [gpu.is_cpu for gpu in gpus]
    cards = len(processors) - sum(processors)
    parts = [counted(number, name) for number, name in ((cards, "GPU"), (sum(processors), "CPU")) if number]
    return " and ".join(parts) or "no GPU"
