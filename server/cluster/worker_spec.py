"""A worker's specification and its report: values that travel between the machines of a cluster."""

from dataclasses import dataclass, field
from typing import Literal

ServerState = Literal["none", "starting", "live", "draining", "silent"]
"""`none`: no server process runs there now."""


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """The same for every worker of a fleet."""

    arguments: tuple[str, ...]
    """Of `whisper-ops serve`, without addresses and tokens."""
    gpus: int = 1
    """Per worker; 0: it takes a CPU instead."""
    host: str | None = None
    """The address to listen on; None: its machine's, as Ray knows it."""
    first_port: int = 8001
    """A worker takes the first free port from here on; 0: any."""
    token: str | None = field(default=None, repr=False)
    admin_token: str = field(repr=False)
    """For the supervisor's lease renewals and the brokers' reservations."""
    lease_seconds: float = 15.0
    version: str


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """A worker as its supervisor knows it."""

    name: str
    url: str | None = None
    """Of its newest server; None: there was none yet."""
    state: ServerState = "none"
    streams: int | None = None
    """Used slots, as of the newest lease renewal."""
    slots: int | None = None
    is_draining: bool = False
    """Whether no other server is started when this one has ended."""
    process_id: int | None = None
    starts: int = 0
    """Server processes started so far."""
    error: str | None = None
    """Why there is no server, or why it does not answer."""
