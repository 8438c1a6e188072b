"""What rules look at: any stored figure, and some that are made of several or of the polls before."""

from collections.abc import Callable, Iterable, Iterator
from statistics import fmean

import msgspec

from whisper_ops.snapshot import Figures, GpuFigures, HostFigures, ServerFigures, Snapshot

Value = tuple[int | None, float]
"""The GPU, or None where the figure is the server's; and its value."""

WARM_UP_SECONDS = 600.0
_PARTS: dict[str, type[Figures]] = {"server": ServerFigures, "gpu": GpuFigures, "host": HostFigures}


class MemoryReturn:
    """The peak after warm-up of one memory, and how far above it the memory is once streams have left."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._peak = 0.0
        self._peak_streams = 0

    def growth(self, at: float, memory: float | None, streams: int | None) -> float | None:
        """How much of the peak is there beyond it, as a ratio; None while it warms up or is not known.

        The peak belongs to the most streams there were. Memory may rise with them; what rises later, with fewer, was
        not given back.
        """
        if memory is None or streams is None:
            return None
        if self._since is None:
            if not streams:
                return None
            self._since = at
        if at - self._since < WARM_UP_SECONDS or streams > self._peak_streams:
            self._peak = max(self._peak, memory)
            self._peak_streams = max(self._peak_streams, streams)
            return None
        return memory / self._peak - 1 if streams < self._peak_streams and self._peak else 0.0


class FigureHistory:
    """What one server's derived figures need to know of its polls before."""

    def __init__(self) -> None:
        self.started_at: float | None = None
        self.silent_since: float | None = None
        self.setups: tuple[int, float] | None = None
        self.memory: dict[int | None, MemoryReturn] = {}

    def restarted(self, snapshot: Snapshot) -> None:
        """Forget what belongs to an earlier process of the server."""
        started_at = snapshot.figures.started_at if snapshot.figures else None
        if started_at != self.started_at:
            self.started_at, self.setups = started_at, None
            self.memory.clear()


def whose(gpu: GpuFigures, snapshot: Snapshot) -> int | None:
    """The number of a GPU; the processor that stands in for one is no GPU: what is its, is its server's."""
    return None if gpu.is_cpu and len(snapshot.gpus) == 1 else gpu.gpu_id


def slots_ratio(snapshot: Snapshot, _past: FigureHistory) -> Iterable[Value]:
    """Slots in use, 0 to 1."""
    figures = snapshot.figures
    if figures and figures.slots and figures.slots_used is not None:
        yield None, figures.slots_used / figures.slots


def silent_seconds(snapshot: Snapshot, past: FigureHistory) -> Iterable[Value]:
    """How long a server has not answered; 0 when it does."""
    past.silent_since = None if snapshot.state == "live" else past.silent_since or snapshot.at
    yield None, 0.0 if past.silent_since is None else snapshot.at - past.silent_since


def gpu_failed(snapshot: Snapshot, _past: FigureHistory) -> Iterable[Value]:
    """1 for a GPU that failed."""
    return ((whose(gpu, snapshot), float(gpu.state == "failed")) for gpu in snapshot.gpus if gpu.state is not None)


def spread_streams(snapshot: Snapshot, _past: FigureHistory) -> Iterable[Value]:
    """How many streams the GPU furthest from the mean of all ready ones is away from it."""
    streams = [
        gpu.streams_active for gpu in snapshot.gpus if gpu.state in {"ready", None} and gpu.streams_active is not None
    ]
    if len(streams) > 1:
        yield None, max(abs(count - fmean(streams)) for count in streams)


def gpu_memory_used_ratio(snapshot: Snapshot, _past: FigureHistory) -> Iterable[Value]:
    """A GPU's memory in use, 0 to 1. A processor's is the machine's, which `host.memory_available_bytes` watches."""
    return ((gpu_id, used / total) for gpu_id, used, total in _gpu_memory(snapshot))


def gpu_memory_free_bytes(snapshot: Snapshot, _past: FigureHistory) -> Iterable[Value]:
    """A GPU's memory that is free."""
    return ((gpu_id, total - used) for gpu_id, used, total in _gpu_memory(snapshot))


def _gpu_memory(snapshot: Snapshot) -> Iterator[tuple[int, float, float]]:
    for gpu in snapshot.gpus:
        if not gpu.is_cpu and gpu.memory_used_bytes is not None and gpu.memory_total_bytes:
            yield gpu.gpu_id, gpu.memory_used_bytes, gpu.memory_total_bytes


def gpu_memory_growth_ratio(snapshot: Snapshot, past: FigureHistory) -> Iterable[Value]:
    """A GPU's memory above its peak after warm-up, with fewer streams than then."""
    for gpu in (one for one in snapshot.gpus if not one.is_cpu):
        memory = past.memory.setdefault(gpu.gpu_id, MemoryReturn())
        growth = memory.growth(snapshot.at, gpu.memory_used_bytes, gpu.streams_active)
        if growth is not None:
            yield gpu.gpu_id, growth


def host_memory_growth_ratio(snapshot: Snapshot, past: FigureHistory) -> Iterable[Value]:
    """The memory of the server's processes, likewise."""
    streams = snapshot.figures.streams_active if snapshot.figures else None
    rss = snapshot.host.process_rss_bytes if snapshot.host else None
    growth = past.memory.setdefault(None, MemoryReturn()).growth(snapshot.at, rss, streams)
    if growth is not None:
        yield None, growth


def setup_recent_seconds(snapshot: Snapshot, past: FigureHistory) -> Iterable[Value]:
    """The mean set-up time of the connections made since the poll before; 0 when there were none."""
    figures = snapshot.figures
    if not figures or figures.setup_mean_seconds is None or figures.accepted_total is None:
        return
    count, total = figures.accepted_total, figures.accepted_total * figures.setup_mean_seconds
    before, past.setups = past.setups, (count, total)
    if before is not None:
        made = count - before[0]
        yield None, max(0.0, (total - before[1]) / made) if made > 0 else 0.0


def mute_streams(snapshot: Snapshot, _past: FigureHistory) -> Iterable[Value]:
    """Streams that are speaking while no text, partial or final, came in the last minute."""
    figures = snapshot.figures
    if figures and figures.streams_speaking is not None and snapshot.identity is not None:
        texts = (figures.partial_interval_seconds, figures.final_p50_seconds)
        yield None, float(figures.streams_speaking) if texts == (None, None) else 0.0


def gpu_throttled(snapshot: Snapshot, _past: FigureHistory) -> Iterable[Value]:
    """1 for a GPU whose clock is held down by power or heat; clocks that somebody set are no throttling."""
    for gpu in snapshot.gpus:
        if gpu.throttle_reasons is not None:
            yield (
                gpu.gpu_id,
                float(bool(set(gpu.throttle_reasons.split(",")) - {"", "applications_clocks", "sync_boost"})),
            )


Figure = Callable[[Snapshot, FigureHistory], Iterable[Value]]

DERIVED: dict[str, Figure] = {
    function.__name__: function
    for function in (
        slots_ratio, silent_seconds, gpu_failed, spread_streams, gpu_memory_used_ratio, gpu_memory_free_bytes,
        gpu_memory_growth_ratio, host_memory_growth_ratio, setup_recent_seconds, mute_streams, gpu_throttled,
    )
}  # fmt: skip


def known_figure(name: str) -> bool:
    """Whether a rule may look at it."""
    part, _, field = name.partition(".")
    return name in DERIVED or (part in _PARTS and _is_number(_PARTS[part], field))


def figure(name: str) -> Figure:
    """What reads the figure of that name."""
    return DERIVED[name] if name in DERIVED else _stored(*name.split(".", 1))


def _is_number(kind: type[Figures], field: str) -> bool:
    return any(f.name == field and f.type in {int | None, float | None} for f in msgspec.structs.fields(kind))


def _stored(part: str, field: str) -> Figure:
    def read(snapshot: Snapshot, _past: FigureHistory) -> Iterable[Value]:
        found: list[tuple[int | None, float | None]]
        if part == "gpu":
            found = [(whose(gpu, snapshot), getattr(gpu, field)) for gpu in snapshot.gpus]
        else:
            figures = snapshot.figures if part == "server" else snapshot.host
            found = [] if figures is None else [(None, getattr(figures, field))]
        return [(gpu_id, float(value)) for gpu_id, value in found if value is not None]

    return read
