"""Run a broker: take the port, start uvicorn, and end when told to. No stream depends on it."""

import asyncio
import dataclasses
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import cast

import uvicorn

from server import logs
from server.broker.app import make_app
from server.broker.fleet import Fleet
from server.broker.membership import ListedMembers, Membership
from server.broker.settings import BrokerSettings
from server.front.connection_limits import ConnectionLimits
from server.front.descriptors import MOST_CONNECTIONS, room_for
from server.front.http_connections import Config, LimitedHttp
from server.front.listening import BACKLOG, bind
from server.front.request_turns import RequestTurns
from server.front.tls import server_context
from server.front.tls_accept import counted_handshakes
from server.front.websocket import BoundedWebSocket
from whisper_ops.errors import Exit, UserError

log = logging.getLogger("whisper_ops.broker")

_FOR_MEMBERS = 1024
"""Open files for the connections to members."""
_ALL_SECONDS, _ADDRESS_SECONDS = (0.8, 0.8), (0.3, 0.5)
"""Of the event loop, as in `server.front.budgets`: no stream needs it here, and members are asked in the rest."""


class Server(uvicorn.Server):
    """uvicorn, which remembers what ended it."""

    told = interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        """See `uvicorn.Server`."""
        # uvicorn's own would end the process by the same signal once more, which is no exit code.
        self.force_exit = self.should_exit
        self.should_exit = self.told = True
        self.interrupted = sig == signal.SIGINT

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        with counted_handshakes(cast("Config", self.config).connection_limits):
            await super().startup(sockets)


def serve(settings: BrokerSettings, announce: Callable[[str], None], membership: Membership | None = None) -> None:
    """Serve until a signal. `announce` is told the address once it listens.

    Raises:
        UserError: the address cannot be had, or the certificate cannot be used.
    """
    descriptors = room_for(MOST_CONNECTIONS + _FOR_MEMBERS)
    tls = server_context(settings.tls_certificate, settings.tls_key) if settings.tls_certificate else None
    sock = bind(settings.host, settings.port)
    logs.set_up(as_json=settings.log_json)
    port = sock.getsockname()[1]

    async def main() -> None:
        told = dataclasses.replace(settings, port=port)
        config = Config(
            make_app(Fleet(told, membership or ListedMembers(settings.members))),
            http=LimitedHttp,
            ws=BoundedWebSocket,
            ws_max_size=64 << 10,
            ws_per_message_deflate=False,
            backlog=BACKLOG,
            log_config=None,
            ssl_context_factory=(lambda _config, _default: tls) if tls else None,
            server_header=False,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        config.connection_limits = limits = ConnectionLimits()
        limits.fit(descriptors, min(_FOR_MEMBERS, (descriptors or _FOR_MEMBERS) // 3))
        limits.requests = RequestTurns(limits.turns, _ALL_SECONDS, _ADDRESS_SECONDS)
        server = Server(config)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        announce(f"http{'s' if tls else ''}://{host}:{port}")
        await server.serve([sock])
        if server.interrupted:
            raise KeyboardInterrupt
        if not server.told:
            raise UserError("the broker ended though nobody told it to; its log says why", Exit.NO)

    uvicorn_loop = uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=uvicorn_loop) as runner:
        runner.run(main())
