"""Run a server: bind the port, start uvicorn, drain gracefully on SIGTERM."""

import asyncio
import dataclasses
import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn

from server import logs
from server.connections.open_files import make_room
from server.http.app import make_app
from server.http.listening import bind
from server.http.sample_audio import sample_for
from server.http.service_status import report
from server.http.tls import server_context
from server.http.uvicorn_server import SignalledServer, address_of, configured, run_in_loop
from server.sessions.hub import Hub
from server.sessions.worker_supervisor import spawn
from server.settings import Settings
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.service_manager import Notify

log = logging.getLogger("whisper_ops.server")

MAX_MESSAGE_BYTES = 1 << 20
"""A WebSocket message over this is closed with 1009: 33 s of 16-bit audio in one piece is no stream."""


class StreamingServer(SignalledServer):
    """uvicorn, with a SIGTERM that drains first. A second signal ends at once; Ctrl-C does not drain."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        self.stop_requested = True
        if self.should_exit or self._drain is not None or sig != signal.SIGTERM or not self._hub.sessions:
            self.force_exit = self.should_exit or self._drain is not None
            self.should_exit = True
            self.interrupted = sig == signal.SIGINT
            return
        self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        self._drain = asyncio.get_running_loop().create_task(self._drained())

    async def _drained(self) -> None:
        self._hub.drain.start()
        log.info("Draining: %d streams have up to %.0f s", len(self._hub.sessions), self._hub.settings.drain_seconds)
        await self._hub.drain.finished()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """However hurried, the workers are ended and waited for."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    async def on_tick(self, counter: int) -> bool:
        """A server that never had a device to serve on ends, so that its user learns why."""
        return await super().on_tick(counter) or self._hub.failure is not None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until a signal. `announce` is told the address once it listens.

    Raises:
        UserError: the address cannot be had, the certificate or the sample cannot be used, too few files may be open
            for the slots, or no device can serve.
    """
    descriptors = make_room(settings.max_connections_per_gpu * len(settings.devices))
    sample = sample_for(settings)
    tls = server_context(settings.tls_certificate, settings.tls_key) if settings.tls_certificate else None
    sock = bind(settings.host, settings.port)
    logs.set_up(as_json=settings.log_json)
    port = sock.getsockname()[1]

    async def main() -> None:
        launch = partial(spawn, log_json=settings.log_json)
        hub = Hub(dataclasses.replace(settings, port=port), launch=launch)
        hub.connection_limits.fit(descriptors, hub.slots.total)
        config = configured(make_app(hub, sample), hub.connection_limits, tls=tls, most_message_bytes=MAX_MESSAGE_BYTES)
        server = StreamingServer(config, hub)
        announce(address_of(settings.host, port, tls))
        reporting = asyncio.create_task(
            report(
                Notify(), ready=lambda: hub.ready, stopping=lambda: server.stop_requested, status=partial(_status, hub)
            )
        )
        await server.serve([sock])
        reporting.cancel()
        if hub.failure is not None:
            raise UserError(hub.failure, Exit.NO)
        server.raise_unless_stopped("server")

    run_in_loop(main)


def _status(hub: Hub) -> str:
    return (
        f"{hub.status}: {counted(len(hub.sessions), 'stream')}, {hub.slots.used} of {counted(hub.slots.total, 'slot')}"
    )
