"""Run a broker until a signal. No stream depends on it."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from functools import partial

from server import logs
from server.broker.broker_app import FleetTask, make_app
from server.broker.broker_settings import BrokerSettings
from server.broker.deletion_cost import DeletionCost
from server.broker.endpoint_slices import EndpointSlices
from server.broker.fleet import Fleet
from server.broker.kubernetes_api import KubernetesApi, own_namespace
from server.broker.membership import ListedMembers, Membership
from server.connections.connection_limits import ConnectionLimits
from server.connections.open_files import MOST_CONNECTIONS, room_for
from server.connections.request_fairness import RequestTurns
from server.http.listening import bind
from server.http.service_status import report
from server.http.tls import server_context
from server.http.uvicorn_server import SignalledServer, address_of, configured, run_in_loop
from whisper_ops.formatting import counted
from whisper_ops.service_manager import Notify

log = logging.getLogger("whisper_ops.broker")

_MAX_MESSAGE_BYTES = 64 << 10
_FOR_MEMBERS = 1024
"""Open files for the connections to members."""
_ALL_SECONDS, _ADDRESS_SECONDS = (0.8, 0.8), (0.3, 0.5)
"""Of the event loop, as in `server.connections.budgets`: a broker has no streams, and the rest polls the members."""


def serve(
    settings: BrokerSettings,
    announce: Callable[[str], None],
    membership: Membership | None = None,
    fleet_task: FleetTask | None = None,
) -> None:
    """Serve until a signal; `announce` gets the address once it listens. Without a membership the settings name one.

    Raises:
        UserError: the settings' source of members, address or certificate cannot be used.
    """
    if membership is None:
        membership, fleet_task = _source(settings)
    descriptors = room_for(MOST_CONNECTIONS + _FOR_MEMBERS)
    tls = server_context(settings.tls_certificate, settings.tls_key) if settings.tls_certificate else None
    sock = bind(settings.host, settings.port)
    logs.set_up(as_json=settings.log_json)
    port = sock.getsockname()[1]

    async def main() -> None:
        limits = ConnectionLimits()
        limits.fit(descriptors, min(_FOR_MEMBERS, (descriptors or _FOR_MEMBERS) // 3))
        limits.requests = RequestTurns(limits.turns, _ALL_SECONDS, _ADDRESS_SECONDS)
        fleet = Fleet(dataclasses.replace(settings, port=port), membership)
        app = make_app(fleet, fleet_task)
        server = SignalledServer(configured(app, limits, tls=tls, most_message_bytes=_MAX_MESSAGE_BYTES))
        announce(address_of(settings.host, port, tls))
        reporting = asyncio.create_task(
            report(
                Notify(),
                ready=lambda: server.started,
                stopping=lambda: server.stop_requested,
                status=partial(_status, fleet),
            )
        )
        await server.serve([sock])
        reporting.cancel()
        server.raise_unless_stopped("broker")

    run_in_loop(main)


def _source(settings: BrokerSettings) -> tuple[Membership, DeletionCost | None]:
    service = settings.service
    if service is None:
        return ListedMembers(settings.members), None
    api = KubernetesApi.of_this_pod()
    namespace = service.namespace or own_namespace()
    cost = DeletionCost(api, namespace) if settings.deletion_cost else None
    return EndpointSlices(api, service, namespace), cost


def _status(fleet: Fleet) -> str:
    live = sum(member.state == "live" for member in fleet.members.values())
    return f"{live} of {counted(len(fleet.members), 'member')} live"
