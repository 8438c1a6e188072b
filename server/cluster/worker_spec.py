"""What a worker is told to be, and what it says of itself: values that travel between the machines of a cluster."""

from dataclasses import dataclass, field
from typing import Literal

ServerState = Literal["none", "starting", "live", "draining", "silent"]
"""`none`: no server process runs there now."""


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """Every worker of a fleet is told the same."""

    arguments: tuple[str, ...]
    """Of `whisper-ops serve`, but for where it listens and who may ask."""
    gpus: int = 1
    """Of a machine, for one worker; 0: it takes a processor instead."""
    host: str | None = None
    """The address to listen on; None: that of its machine, as Ray knows it."""
    first_port: int = 8001
    """Each worker takes the first free one from here on; 0: any."""
    token: str | None = field(default=None, repr=False)
    admin_token: str = field(repr=False)
    """The supervisor renews the server's lease with it, and brokers reserve slots."""
    lease_seconds: float = 15.0
    version: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """A worker as its supervisor knows it."""

    name: str
    url: str | None = None
    """Where its server is asked; None: there was none yet."""
    state: ServerState = "none"
    streams: int | None = None
    """Slots in use, as the server said when its lease was renewed."""
    slots: int | None = None
    is_draining: bool = False
    """Whether no other server is started when this one has ended."""
    process_id: int | None = None
    starts: int = 0
    """Server processes that were started here."""
    error: str | None = None
    """Why there is none now, or the newest does not answer."""
