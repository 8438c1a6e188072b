"""What was measured, exactly: levels whose keys differ are never put together.

Chunk size, duty cycle and clip length each moved a published knee by a factor of two or more, so they are keys as
much as the GPU and the model are.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from msgspec.structs import asdict

from whisper_ops.history import LevelRecord, SweepRecord
from whisper_ops.identity import Identity

_PROCESSOR = re.compile(r"\b(cpu|processor|xeon|epyc|ryzen|threadripper|opteron|core\(tm\)|graviton)\b", re.IGNORECASE)

_NUMBERED = re.compile(r"(?<=^simulated GPU) \d+$")


class UncountedError(ValueError):
    """Streams were on several servers, and nobody said on how many GPUs."""

    def __init__(self, server: str, servers: int) -> None:
        super().__init__(
            f"{servers} servers answered at {server}, and how many GPUs they have is not known, so neither is what one "
            "GPU carried; sweep each server at its own address"
        )


class Key(Identity, frozen=True, kw_only=True):
    """The conditions of a law: what ran, and how it was loaded. None: not known, which differs from every value."""

    server: str
    gpus: int
    """Of all servers that answered at the address."""
    servers: int = 1
    protocol: str | None
    chunk_seconds: float | None
    duty_cycle: float | None
    arrivals: str | None
    corpus: str | None
    objective: str

    TEXT_LIMIT: ClassVar[int | None] = None  # an objective is longer than a name may be

    @property
    def device(self) -> str:
        """The name of what carries the connections; simulated GPUs are numbered, and are all alike."""
        names = (self.gpu_name or "CPU").split(" + ")
        return " + ".join(dict.fromkeys(_NUMBERED.sub("", name) for name in names))

    @property
    def carrier(self) -> str:
        """What the limit is a limit of: a GPU, or a processor that stands in for one."""
        return "worker (on the CPU)" if _PROCESSOR.search(self.device) else "GPU"

    @property
    def gpus_a_server(self) -> int:
        """GPUs that share one machine and one front process, the more where servers differ."""
        return -(-self.gpus // self.servers)

    @property
    def title(self) -> str:
        """Server, GPU, model, precision and software on one line."""
        gpu = self.device
        behind = f"{self.servers} servers with " if self.servers > 1 else ""
        if self.gpus > 1:
            gpu = f"{self.gpus} GPUs: {gpu}" if " + " in gpu else f"{self.gpus} × {gpu}"
        return " · ".join(
            part for part in (self.server, f"{behind}{gpu}", self.model_title, self.software_title) if part
        )

    @property
    def conditions(self) -> str:
        """How the load was played; ordinary production is what its clients made of it."""
        if self.chunk_seconds is None or self.duty_cycle is None:
            return "whatever clients did"
        return (
            f"{self.protocol}, {self.chunk_seconds * 1000:.0f} ms chunks, duty cycle {self.duty_cycle:.0%}, "
            f"{self.arrivals} arrivals"
        )


def key_of(sweep: SweepRecord, levels: Sequence[LevelRecord] = ()) -> Key:
    """The key of all levels of a sweep. Behind one address may be several servers: their GPUs are counted together.

    Raises:
        UncountedError: several servers answered, and how many GPUs they have is not known.
    """
    servers = max((level.servers or 1 for level in levels), default=1)
    gpus = sweep.gpus or max((level.gpus or 0 for level in levels), default=0) or 1
    if servers > 1:
        counts = [level.gpus for level in levels if level.servers == servers and level.gpus is not None]
        if not counts:
            raise UncountedError(sweep.server, servers)
        gpus = max(counts)
    return Key(
        **asdict(sweep.identity),
        server=sweep.server,
        gpus=gpus,
        servers=servers,
        protocol=sweep.protocol,
        chunk_seconds=sweep.chunk_seconds,
        duty_cycle=sweep.duty_cycle,
        arrivals=sweep.arrivals,
        corpus=sweep.corpus,
        objective=sweep.objective,
    )


def key_of_polls(server: str, identity: Identity, gpus: int, objective: str) -> Key:
    """The key of a server's ordinary production, of which nobody knows how the load was played."""
    return Key(
        **asdict(identity),
        server=server,
        gpus=gpus,
        protocol=None,
        chunk_seconds=None,
        duty_cycle=None,
        arrivals=None,
        corpus=None,
        objective=objective,
    )


def differences(one: Key, other: Key) -> str:
    """What differs between two keys, in words: `model tiny.en / base.en, chunk_seconds 0.1 / 0.5`."""
    a, b = asdict(one), asdict(other)
    return ", ".join(f"{name} {a[name]} / {b[name]}" for name in a if a[name] != b[name])
