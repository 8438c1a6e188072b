"""Admission: which GPU a stream gets, or why it gets none. Pure and synchronous, so every decision is atomic.

A slot goes `reserve → activate → release`. One owner holds it, named by a string; releasing twice does nothing, so
every way out of a session may release without asking whether another way already did.
"""

from dataclasses import dataclass, field
from typing import Literal

from server.settings import Placement

GpuState = Literal["starting", "ready", "failed", "draining"]


@dataclass
class Gpu:
    """A device's slots. `limit` may be lowered under the number in use: then it only drains."""

    gpu_id: int
    limit: int
    state: GpuState = "starting"
    reserved: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    free_memory_bytes: float = 0.0

    @property
    def used(self) -> int:
        """Slots held, whether by a live stream or a reservation."""
        return len(self.reserved) + len(self.active)

    @property
    def usable(self) -> bool:
        """Whether it may take streams now or, starting, soon."""
        return self.state in ("starting", "ready")

    @property
    def slots(self) -> int:
        """What it adds to the server's capacity: a failed GPU adds nothing."""
        return 0 if self.state == "failed" else self.limit


class Slots:
    """All slots of a server."""

    def __init__(self, gpus: int, limit: int, placement: Placement = "least_loaded") -> None:
        self.gpus = [Gpu(i, limit) for i in range(gpus)]
        self._placement = placement
        self._next = 0
        self._where: dict[str, int] = {}

    def reserve(self, owner: str, avoid: int | None = None) -> int | None:
        """Hold a slot for `owner` and return its GPU, or None when every usable GPU is full.

        A ready GPU goes before one that is still starting. An owner that already holds a slot keeps it, unless it is
        on the GPU to `avoid`.
        """
        held = self._where.get(owner)
        if held is not None and held != avoid:
            return held
        room = [g for g in self.gpus if g.usable and g.used < g.limit and g.gpu_id != avoid]
        if not room:
            return None
        ready = [g for g in room if g.state == "ready"]
        chosen = self._choose(ready or room)
        self.release(owner)
        chosen.reserved.add(owner)
        self._where[owner] = chosen.gpu_id
        return chosen.gpu_id

    def _choose(self, room: list[Gpu]) -> Gpu:
        if self._placement == "round_robin":
            count = len(self.gpus)
            chosen = min(room, key=lambda g: (g.gpu_id - self._next) % count)
            self._next = (chosen.gpu_id + 1) % count
            return chosen
        return min(room, key=lambda g: (g.used / g.limit, -g.free_memory_bytes, g.gpu_id))

    def activate(self, owner: str) -> None:
        """Turn a reservation into a live stream."""
        gpu = self.gpus[self._where[owner]]
        gpu.reserved.discard(owner)
        gpu.active.add(owner)

    def rename(self, owner: str, new_owner: str) -> int | None:
        """Hand a reservation over, as from a ticket to its stream; None when there is none."""
        at = self._where.pop(owner, None)
        if at is None:
            return None
        self.gpus[at].reserved.discard(owner)
        self.gpus[at].active.discard(owner)
        self.gpus[at].reserved.add(new_owner)
        self._where[new_owner] = at
        return at

    def release(self, owner: str) -> int | None:
        """Free what `owner` holds and return the GPU it was on; None when it holds nothing."""
        at = self._where.pop(owner, None)
        if at is not None:
            self.gpus[at].reserved.discard(owner)
            self.gpus[at].active.discard(owner)
        return at

    def gpu_of(self, owner: str) -> int | None:
        """Where `owner` holds a slot."""
        return self._where.get(owner)

    def set_limit(self, limit: int) -> None:
        """Change the slots of every GPU; streams beyond a lower limit stay until they leave."""
        for gpu in self.gpus:
            gpu.limit = limit

    def set_free_memory(self, gpu_id: int, free_bytes: float | None) -> None:
        """What is free on a GPU: of two that are equally full the one with more gets the next stream. None: unknown."""
        self.gpus[gpu_id].free_memory_bytes = free_bytes or 0.0

    @property
    def total(self) -> int:
        """Slots of all GPUs that are not failed."""
        return sum(g.slots for g in self.gpus)

    @property
    def free(self) -> int:
        """Slots that `reserve` could give out now."""
        return sum(max(0, g.limit - g.used) for g in self.gpus if g.usable)

    @property
    def used(self) -> int:
        """Slots held now."""
        return sum(g.used for g in self.gpus)
