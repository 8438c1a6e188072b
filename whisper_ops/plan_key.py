"""What was measured, exactly: levels whose keys differ are never put together.

Chunk size, duty cycle and clip length each moved a published knee by a factor of two or more, so they are keys as
much as the GPU and the model are; so is the share of pauses in the speech.
"""

import re
from typing import ClassVar

from whisper_ops.identity import Identity

_PROCESSOR = re.compile(r"\b(cpu|processor|xeon|epyc|ryzen|threadripper|opteron|core\(tm\)|graviton)\b", re.IGNORECASE)
_NUMBERED = re.compile(r"(?<=^simulated GPU) \d+$")


class PlanKey(Identity, frozen=True, kw_only=True):
    """The conditions of a law: what ran, and how it was loaded. None: not known, which differs from every value."""

    server: str = ""
    gpus: int = 1
    """Of all servers that answered at the address."""
    servers: int = 1
    protocol: str | None = None
    chunk_seconds: float | None = None
    duty_cycle: float | None = None
    arrivals: str | None = None
    corpus: str | None = None
    pause_share: float | None = None
    objective: str = ""

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
    def carrier_noun(self) -> str:
        """The same as a noun to be counted."""
        return "GPU" if self.carrier == "GPU" else "worker"

    @property
    def each(self) -> str:
        """What stands behind a number of connections that is not that of the whole server: ` a GPU`."""
        return f" a {self.carrier_noun}" if self.gpus > 1 else ""

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
        pauses = "" if self.pause_share is None else f", pauses {self.pause_share:.0%}"
        return (
            f"{self.protocol}, {self.chunk_seconds * 1000:.0f} ms chunks, duty cycle {self.duty_cycle:.0%}, "
            f"{self.arrivals} arrivals{pauses}"
        )
