"""The settings of a server: one frozen value, made by the command line."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from server.devices import WorkerDevice
from whisper_ops.addresses import parsed

EngineName = Literal["ctranslate2", "torch", "simulated"]
Placement = Literal["least_loaded", "round_robin"]
WhenFull = Literal["close", "503"]

MOST_DRAIN_SECONDS = 7 * 86400


@dataclass(frozen=True, kw_only=True)
class SimulatedLaw:
    """The service time law of a simulated GPU: `T(B) = a + b·B` seconds, memory `base + slope·N` bytes."""

    a_seconds: float = 0.02
    b_seconds: float = 0.005
    memory_base_bytes: float = 2e9
    memory_slope_bytes: float = 150e6
    memory_total_bytes: float = 24e9
    load_seconds: float = 0.2
    host_seconds: float = 0.0
    """CPU burnt on the host for each row of a batch, in seconds."""
    fault_every: int = 0
    """One row in so many fails; 0: none."""
    hang_after: int = 0
    """The engine hangs for good after so many batches; 0: never."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The checked options of `whisper-ops serve`. Times are in seconds."""

    devices: tuple[WorkerDevice, ...]
    engine: EngineName = "ctranslate2"
    model: str
    """The name shown; never a path of this machine."""
    model_path: Path | None = None
    compute_type: str = "default"
    max_batch: int = 4
    min_context_seconds: float = 0.0
    """Every window is padded to at least this."""
    host: str = "127.0.0.1"
    port: int = 8000
    tls_certificate: Path | None = None
    """With its chain; None: plain HTTP."""
    tls_key: Path | None = None
    """None: it is in the certificate's file."""
    max_connections_per_gpu: int = 16
    placement: Placement = "least_loaded"
    when_full: WhenFull = "close"
    token: str | None = field(default=None, repr=False)
    admin_token: str | None = field(default=None, repr=False)
    public_url: str | None = None
    allow_origins: tuple[str, ...] = ()
    """Origins of pages that may use the server beside its own, as `checked_origin` gives them."""
    reconnect_url: str | None = None
    """Where clients of a server that drains are sent."""
    ticket_seconds: float = 10.0
    resume_seconds: float = 10.0
    idle_seconds: float = 120.0
    """A native client that sends nothing for so long is ended, unless it asked for another time; 0: never."""
    max_idle_seconds: float = 3600.0
    """The most that a client may ask for, and what clients get whose protocol has no keep-alive."""
    session_seconds: float = 0.0
    """The longest a session may last; 0: no limit."""
    drain_seconds: float = 30.0
    lease_seconds: float = 0.0
    """Streams are admitted for so long after a renewal; 0: there is no lease."""
    orphan_seconds: float = 3600.0
    """How long the server waits for its streams to end after its lease expired."""
    lag_objective_seconds: float = 0.0
    """Refuse new streams while p95 lag is above this; 0: never."""
    connections_per_address: int = 0
    """At most so many streams from one address; 0: no limit."""
    sample: Path | None = None
    """A sound file that the page may play; None: what this server can make."""
    log_json: bool = False
    law: SimulatedLaw = field(default_factory=SimulatedLaw)

    @property
    def routing_parameters(self) -> frozenset[str]:
        """Query parameters of the addresses that clients are sent to: a balancer reads them, and we let them pass."""
        addresses = (self.public_url or "", self.reconnect_url or "")
        return frozenset(
            name for address in addresses for name in parse_qs(urlsplit(address).query, keep_blank_values=True)
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def checked_origin(text: str) -> str:
    """An origin as browsers write it: `https://app.example`; `*` is every page there is, `null` one without an origin.

    Raises:
        ValueError: it is none; the message says why.
    """
    if text in ("*", "null"):
        return text
    parts = urlsplit(text)
    if not parts.scheme or not parts.hostname or not text.isprintable():
        raise ValueError("it has no scheme and host")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("an origin is a scheme, a host and perhaps a port, and no more")
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if parts.port in (None, usual) else f":{parts.port}")


def checked_stream_url(text: str) -> str:
    """The address of a WebSocket, as it was given.

    Raises:
        ValueError: it is none; the message says why.
    """
    parsed(text, ("ws", "wss"))
    return text


def checked_deadline(seconds: float) -> None:
    """Whether a drain may take so long.

    Raises:
        ValueError: it may not.
    """
    if not 0 <= seconds <= MOST_DRAIN_SECONDS:
        raise ValueError(f"deadline_s lies between 0 and {MOST_DRAIN_SECONDS}")
