"""What a broker was asked to be: one frozen value, made by the command line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class NamedMember(NamedTuple):
    """A member as it was named: a server's address, or one that leads to many."""

    name: str
    url: str
    """Scheme, host and port, without a trailing slash."""
    is_dns: bool = False
    """Each address behind the host's name is a member of its own."""


class Service(NamedTuple):
    """In Kubernetes: the service whose pods are the members."""

    name: str
    namespace: str | None = None
    """None: the broker's own."""
    scheme: str = "http"
    port: int | None = None
    """Of the pods; None: the only one they have, or the one that is called `http`."""


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """Everything `whisper-ops broker` can be told, checked. Times are in seconds."""

    members: tuple[NamedMember, ...] = ()
    service: Service | None = None
    """Where the members are known from, in place of a list."""
    deletion_cost: bool = False
    """Say which pod shall go next when the fleet has more than it needs."""
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    admin_token: str | None = field(default=None, repr=False)
    member_token: str | None = field(default=None, repr=False)
    """What the members are asked with; None: nothing."""
    member_admin_token: str | None = field(default=None, repr=False)
    """What slots are reserved, and members drained, with; None: nothing."""
    allow_origins: tuple[str, ...] = ()
    public_url: str | None = None
    """A name of its own that the broker may be asked by, on loopback without a token."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    interval_seconds: float = 1.0
    """From one reading of a member to the next."""
    deadline_seconds: float = 2.0
    """A member that has not answered by then is silent."""
    log_json: bool = False
