"""The range that each figure can be in; a value outside is a fault of its source, and unknown here.

A figure comes from a server, an exporter, a driver or an old history, any of which may be wrong or hostile: an
infinite memory crashes a chart, an integer beyond 64 bits ends a database's transaction, 244 °C raises an alert at
night. So each passes these bounds where it comes in, before it is shown, stored or counted with. They are wide: no
hardware that is sold, and none that can be foreseen, lies outside.
"""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec

from whisper_ops.histogram import BUCKETS
from whisper_ops.snapshot import Figures, GpuFigures, HostFigures, ServerFigures, Snapshot
from whisper_ops.wire import MAX_GPUS

Note = Callable[[str, str], None]
"""Takes the kind of a remark and its sentence, as `Remarks.note` does."""

WHOLE = 2.0**53
"""Counts beyond it are not whole numbers any more where they become floats, as in Prometheus and in JavaScript."""

NO_LIMIT = 2.0**40
"""A limit of the kernel beyond a trillion is none: systemd sets fs.file-max to 2⁶³ − 1 to say so."""

_SLACK = 0.1
"""How far a ratio may be off by two clocks that do not agree; within it the end of its range is the figure."""


class Bound(NamedTuple):
    """Both ends belong to it."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value is possible; what is no number is not."""
        return self.low <= value <= self.high


_BY_SUFFIX: tuple[tuple[str, Bound], ...] = (
    ("_cpu_ratio", Bound(0, 65_536)),  # in cores
    ("_ratio", Bound(0, 1)),
    ("_celsius", Bound(-50, 150)),  # a chip is off long before
    ("_watts", Bound(0, 10_000)),  # one module; a rack of them takes 120,000
    ("_hertz", Bound(0, 1e10)),
    ("_bytes_per_second", Bound(0, 1e13)),
    ("_bytes", Bound(0, 1e15)),
    ("_seconds", Bound(0, 1e8)),  # three years
    ("_limit", Bound(0, NO_LIMIT)),
    ("_max", Bound(0, NO_LIMIT)),
    ("_total", Bound(0, WHOLE)),
)
_BY_NAME: dict[str, Bound] = {
    "cpu_ratio": Bound(0, 1),
    "gpu_id": Bound(0, 2.0**31 - 1),
    "started_at": Bound(0, 1e10),  # to the year 2286: milliseconds are no seconds
    "ecc_errors": Bound(0, 1e12),
    "batch_fill_mean": Bound(0, 1e6),
    "audio_seconds_per_second": Bound(0, 1e6),
    "load_1m": Bound(0, 1e7),
    "port_range_low": Bound(0, 65_535),
    "port_range_high": Bound(0, 65_535),
    "somaxconn": Bound(0, 2.0**32),
    "syn_backlog": Bound(0, 2.0**32),
}
_COUNT = Bound(0, 1e9)
_ANY = Bound(-1e18, 1e18)
_NUMBERS = {int, float, int | None, float | None}

F = TypeVar("F", bound=msgspec.Struct)


def bound(field: str, *, whole: bool = False) -> Bound:
    """What a figure of that name may be; `whole`: it counts something."""
    named = _BY_NAME.get(field)
    if named is not None:
        return named
    found = next((found for suffix, found in _BY_SUFFIX if field.endswith(suffix)), None)
    return found or (_COUNT if whole else _ANY)


class _Kind(NamedTuple):
    names: tuple[str, ...]
    bounds: tuple[Bound, ...]
    read: Callable[[Any], tuple[float | None, ...]]


@cache
def _kind(kind: type[msgspec.Struct]) -> _Kind:
    fields = [field for field in msgspec.structs.fields(kind) if field.type in _NUMBERS]
    names = tuple(field.name for field in fields)
    bounds = tuple(bound(field.name, whole=field.type in {int, int | None}) for field in fields)
    if len(names) == 1:  # attrgetter answers a bare value then
        return _Kind(names, bounds, lambda figures: (getattr(figures, names[0]),))
    return _Kind(names, bounds, attrgetter(*names))


def possible(snapshot: Snapshot, note: Note | None = None) -> Snapshot:
    """The same poll with everything impossible unknown, each kind of it noted."""
    remarks = _Remarks(snapshot.server, note)
    gpus = tuple(_within(gpu, remarks, f"GPU {gpu.gpu_id}") for gpu in _distinct(snapshot.gpus, remarks))
    return msgspec.structs.replace(
        snapshot,
        identity=snapshot.identity and _within(snapshot.identity, remarks),
        figures=snapshot.figures and _server(_within(snapshot.figures, remarks), remarks),
        gpus=tuple(_memory(gpu, remarks) for gpu in gpus),
        host=snapshot.host and _host(_within(snapshot.host, remarks, "its machine"), remarks),
        queue_wait_bucket_counts=_counts(snapshot.queue_wait_bucket_counts, "queue_wait_bucket_counts", remarks),
        compute_bucket_counts=_counts(snapshot.compute_bucket_counts, "compute_bucket_counts", remarks),
    )


class _Remarks:
    """Says what was left out, and why."""

    def __init__(self, server: str, note: Note | None) -> None:
        self._server = server
        self._note = note

    def impossible(self, where: str, field: str, value: float) -> None:
        if self._note is not None:
            whose = f"{where}, " if where else ""
            no_limit = value > NO_LIMIT and field.endswith(("_limit", "_max"))
            what = "which is no limit at all" if no_limit else "which cannot be"
            words = f"{self._server}: {whose}{field} {_short(value)}, {what}; taken as unknown"
            self._note(f"impossible {field}", words)

    def note(self, kind: str, sentence: str) -> None:
        if self._note is not None:
            self._note(kind, f"{self._server}: {sentence}")


def _within(figures: F, remarks: _Remarks, where: str = "") -> F:
    names, bounds, read = _kind(type(figures))
    changed: dict[str, float | None] = {}
    for index, value in enumerate(read(figures)):
        if value is None or bounds[index].holds(value):
            continue
        name, allowed = names[index], bounds[index]
        if name.endswith("_ratio") and allowed.low - _SLACK <= value <= allowed.high + _SLACK:
            changed[name] = min(max(value, allowed.low), allowed.high)
            continue
        changed[name] = None
        remarks.impossible(where, name, value)
    return msgspec.structs.replace(figures, **changed) if changed else figures


def _distinct(gpus: tuple[GpuFigures, ...], remarks: _Remarks) -> list[GpuFigures]:
    """GPUs that have a number of their own, at most so many; rows and screens know them by it."""
    known: dict[int, GpuFigures] = {}
    for gpu in gpus:
        if len(known) >= MAX_GPUS:
            remarks.note("many GPUs", f"it names {len(gpus)} GPUs; those beyond {MAX_GPUS} are left out")
            break
        if not bound("gpu_id").holds(gpu.gpu_id):
            remarks.note("impossible gpu_id", f"a GPU is numbered {_short(gpu.gpu_id)}; it is left out")
        elif gpu.gpu_id in known:
            remarks.note("GPU named twice", f"it names GPU {gpu.gpu_id} more than once; the first is taken")
        else:
            known[gpu.gpu_id] = gpu
    return list(known.values())


def _memory(gpu: GpuFigures, remarks: _Remarks) -> GpuFigures:
    total, used = gpu.memory_total_bytes, gpu.memory_used_bytes
    if total is None or used is None or used <= total * (1 + _SLACK):
        return gpu
    remarks.note("more used than there is", f"GPU {gpu.gpu_id} uses {used:g} of {total:g} bytes; taken as unknown")
    return msgspec.structs.replace(gpu, memory_used_bytes=None)


def _host(host: HostFigures, remarks: _Remarks) -> HostFigures:
    total, free = host.memory_total_bytes, host.memory_available_bytes
    if total is None or free is None or free <= total * (1 + _SLACK):
        return host
    remarks.note("more free than there is", f"its machine has {free:g} of {total:g} bytes free; taken as unknown")
    return msgspec.structs.replace(host, memory_available_bytes=None)


def _server(figures: ServerFigures, remarks: _Remarks) -> ServerFigures:
    counts = _counts(figures.lag_bucket_counts, "lag_bucket_counts", remarks)
    return (
        figures if counts is figures.lag_bucket_counts else msgspec.structs.replace(figures, lag_bucket_counts=counts)
    )


def _counts(counts: tuple[int, ...] | None, field: str, remarks: _Remarks) -> tuple[int, ...] | None:
    if counts is None or (len(counts) == BUCKETS and all(0 <= count <= WHOLE for count in counts)):
        return counts
    remarks.note(f"impossible {field}", f"its {field} cannot be; taken as unknown")
    return None


_KINDS: dict[str, type[Figures]] = {"server": ServerFigures, "gpu": GpuFigures, "host": HostFigures}


def column_bound(kind: str, field: str) -> Bound:
    """The bound of a column of `server_sample`, `gpu_sample` or `host_sample`."""
    names, bounds, _ = _kind(_KINDS[kind])
    return bounds[names.index(field)]


def _short(value: float) -> str:
    try:
        return f"{value:.4g}"
    except OverflowError:  # an integer that no float can hold
        return f"of {len(str(value))} digits"
