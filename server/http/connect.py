"""`GET /connect`: a direct address, and a slot held for whoever goes there.

Why it exists: a platform's HTTP balancer held up WebSocket upgrades and cut sessions; a direct address did neither. The
address bears the ticket, so that a client which just goes there takes the slot that was reserved for it.
"""

import os
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import HTTPConnection

from server.sessions.hub import Hub
from server.sessions.tickets import Ticket
from server.settings import Settings
from whisper_ops import wire

_PROXYS_WORDS = frozenset({"forwarded", "via", "x-real-ip"})


def is_proxied(headers: Iterable[str]) -> bool:
    """Whether headers of these names say that a proxy passed the request on."""
    names = {name.lower() for name in headers}
    return bool(names & _PROXYS_WORDS) or any(name.startswith("x-forwarded-") for name in names)


def listens_on(settings: Settings, request: HTTPConnection) -> tuple[str, int]:
    """Our own address, as this connection came in on."""
    host, port = request.scope.get("server") or (settings.host, None)
    return host, port or settings.port


def direct_url(settings: Settings, request: HTTPConnection) -> tuple[str, bool]:
    """Where a client connects, and whether that surely is this server and no other replica."""
    host, port = listens_on(settings, request)
    pod = os.environ.get("RUNPOD_POD_ID")
    if settings.public_url:
        return settings.public_url.replace("{pod_id}", pod or "").replace("{port}", str(port)), True
    if pod:
        return f"wss://{pod}-{port}.proxy.runpod.net/ws", True
    here = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    proxied = is_proxied(request.headers.keys())
    scheme = "wss" if request.scope["scheme"] in ("https", "wss") or (proxied and _is_encrypted(request)) else "ws"
    # Behind a proxy that we know no way around, the client may come back to another replica.
    return f"{scheme}://{request.headers.get('host') or here}/ws", not proxied


def _is_encrypted(request: HTTPConnection) -> bool:
    """Whether the client's own connection is, as any proxy says: it is believed for an answer to nobody else."""
    forwarded_scheme = request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    forwarded = request.headers.get("forwarded", "").split(",")[0].lower().replace(" ", "").replace('"', "").split(";")
    return forwarded_scheme in ("https", "wss") or "proto=https" in forwarded


def answer(hub: Hub, request: HTTPConnection) -> wire.Connect:
    """The answer to a request that is allowed.

    Raises:
        AdmissionRefused: a client that came now would not be admitted.
    """
    url, is_ours = direct_url(hub.settings, request)
    address = request.client.host if request.client else ""
    ticket = hub.admission.ticket(address) if is_ours else None
    if ticket is None:
        hub.admission.check(address)
    port = listens_on(hub.settings, request)[1]
    return described(url, ticket, port=port, active=len(hub.sessions), most=hub.slots.total)


def answer_for(hub: Hub, request: HTTPConnection, address: str) -> wire.Connect:
    """The answer to a broker that is allowed to ask for the client at `address`.

    Raises:
        AdmissionRefused: that client would not be admitted now.
    """
    url, is_ours = direct_url(hub.settings, request)
    ticket = hub.admission.ticket_for(address) if is_ours else None
    if ticket is None:
        hub.admission.check(address)
    port = listens_on(hub.settings, request)[1]
    return described(url, ticket, port=port, active=len(hub.sessions), most=hub.slots.total)


def described(url: str, ticket: Ticket | None, *, port: int, active: int, most: int) -> wire.Connect:
    """The answer's body."""
    return wire.Connect(
        ws_url=url if ticket is None else _with_ticket(url, ticket.value),
        pod_id=os.environ.get("RUNPOD_POD_ID"),
        port=port,
        active_streams=active,
        max_streams=most,
        gpu_id=ticket.gpu_id if ticket else None,
        ticket=ticket.value if ticket else None,
        expires_at=ticket.expires_at if ticket else None,
        tickets_issued_total=ticket.number if ticket else None,
    )


def _with_ticket(url: str, ticket: str) -> str:
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("ticket", ticket)]
    return urlunsplit(parts._replace(query=urlencode(query)))
