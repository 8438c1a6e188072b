"""The settings of a broker, made by the command line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class NamedMember(NamedTuple):
    """A member as the command line names it: a server, or a DNS name of many."""

    name: str
    url: str
    """Scheme, host and port, without a trailing slash."""
    is_dns: bool = False
    """Each IP address of the host's name is a member of its own."""


class KubernetesService(NamedTuple):
    """Its pods are the members."""

    name: str
    namespace: str | None = None
    """None: the broker's own."""
    scheme: str = "http"
    port: int | None = None
    """Of the pods; None: their only one, or the one named `http`."""


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """Checked. Times are in seconds."""

    members: tuple[NamedMember, ...] = ()
    service: KubernetesService | None = None
    """The source of members in place of `members`."""
    deletion_cost: bool = False
    """Write pod-deletion-cost, so that Kubernetes deletes the emptiest pod first."""
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    admin_token: str | None = field(default=None, repr=False)
    member_token: str | None = field(default=None, repr=False)
    """For requests to members."""
    member_admin_token: str | None = field(default=None, repr=False)
    """For reserving slots at members, and admin calls to them."""
    allow_origins: tuple[str, ...] = ()
    public_url: str | None = None
    """Its host is a name that clients on loopback may use without a token."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    interval_seconds: float = 1.0
    """Between two polls of a member."""
    deadline_seconds: float = 2.0
    """For a member's answer; without one it is silent."""
    log_json: bool = False
