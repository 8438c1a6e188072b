"""What a server's memory says before it is filled, when it is full, and after."""

from collections.abc import Sequence
from typing import Literal

from capacity.checklist.check_results import CheckResult, check_result
from whisper_ops.snapshot import GpuFigures, Snapshot

BACK_SHARE = 0.05
FREE_BYTES = 2e9
USED_SHARE = 0.9

USED = "memory is used on every GPU with streams"
FREE = f"more than {FREE_BYTES / 1e9:g} GB of memory are free on every GPU at full load"
UTILISED = f"memory utilisation is at most {USED_SHARE:.0%} on every GPU at full load".replace("%", " %")
BACK = f"memory is back after disconnect (within {BACK_SHARE:.0%})".replace("%", " %")

_UNKNOWN = "the server gives no memory readings"
_DOCTOR = "see `whisper-ops doctor` on its machine"

Measure = Literal["memory_used_bytes", "process_rss_bytes"]


def used(full: Snapshot) -> CheckResult:
    """Whether every GPU that has streams holds something in memory."""
    busy = [gpu for gpu in full.gpus if gpu.streams_active and _own(gpu) is not None]
    if not busy:
        return check_result(USED, None, _UNKNOWN, _DOCTOR)
    shown = ", ".join(f"{_who(gpu)}: {(_own(gpu) or 0) / 1e9:.2f} GB" for gpu in busy)
    advice = "a GPU takes streams without a model in its memory; see its state"
    return check_result(USED, all(_own(gpu) for gpu in busy), shown, advice)


def headroom(full: Snapshot) -> list[CheckResult]:
    """Whether a full server leaves room: fragments, a longer batch and a driver's own needs come on top."""
    known = [
        (_who(gpu), gpu.memory_used_bytes, gpu.memory_total_bytes)
        for gpu in full.gpus
        if gpu.memory_used_bytes is not None and gpu.memory_total_bytes
    ]
    if not known:
        return [check_result(name, None, _UNKNOWN, _DOCTOR) for name in (FREE, UTILISED)]
    advice = "lower --max-connections-per-gpu, or take a smaller model or compute type"
    return [
        check_result(
            FREE,
            all(total - taken > FREE_BYTES for _, taken, total in known),
            ", ".join(f"{who}: {(total - taken) / 1e9:.2f} GB" for who, taken, total in known),
            advice,
        ),
        check_result(
            UTILISED,
            all(taken / total <= USED_SHARE for _, taken, total in known),
            ", ".join(f"{who}: {taken / total:.0%}".replace("%", " %") for who, taken, total in known),
            advice,
        ),
    ]


def back(before: Snapshot, after: Snapshot) -> CheckResult:
    """Whether what the connections took was given back."""
    pairs = _pairs(before, after)
    if not pairs:
        return check_result(BACK, None, _UNKNOWN, _DOCTOR)
    shown = ", ".join(f"{who}: {start / 1e9:.2f} → {end / 1e9:.2f} GB" for who, start, end in pairs)
    advice = "memory leaks with connections, or is cached: run the check again and compare"
    return check_result(BACK, _is_back(pairs), shown, advice)


def is_back(before: Snapshot, after: Snapshot) -> bool:
    """Whether nothing more is to be waited for; also where nothing is known."""
    return _is_back(_pairs(before, after))


def _is_back(pairs: Sequence[tuple[str, float, float]]) -> bool:
    return all(end <= start * (1 + BACK_SHARE) for _, start, end in pairs)


def _pairs(before: Snapshot, after: Snapshot) -> list[tuple[str, float, float]]:
    """Of each GPU that was there both times: its name, and what was in use, measured the same way."""
    later = {gpu.gpu_id: gpu for gpu in after.gpus}
    pairs = []
    for gpu in before.gpus:
        measure = _measure(gpu)
        start: float | None = getattr(gpu, measure)
        end: float | None = getattr(later[gpu.gpu_id], measure) if gpu.gpu_id in later else None
        if start and end is not None:
            pairs.append((_who(gpu), start, end))
    return pairs


def _measure(gpu: GpuFigures) -> Measure:
    """A GPU's own memory; the worker's on a CPU, where the machine's is everybody's, and where no other is known."""
    if gpu.process_rss_bytes and (gpu.is_cpu or gpu.memory_used_bytes is None):
        return "process_rss_bytes"
    return "memory_used_bytes"


def _own(gpu: GpuFigures) -> float | None:
    value: float | None = getattr(gpu, _measure(gpu))
    return value


def _who(gpu: GpuFigures) -> str:
    return "CPU" if gpu.is_cpu else f"GPU {gpu.gpu_id}"
