"""uvicorn as the server and the broker run it: bounded protocols, counted handshakes, exit codes of our own."""

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine
from ssl import SSLContext
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette

from server.connections.connection_limits import ConnectionLimits
from server.http.bounded_websocket import BoundedWebSocket
from server.http.http_connections import Config, LimitedHttp
from server.http.listening import BACKLOG
from server.http.tls_handshakes import counted_handshakes
from whisper_ops.errors import Exit, UserError


class SignalledServer(uvicorn.Server):
    """uvicorn, which remembers what ended it. `stop_requested`: a signal did; `interrupted`: that was Ctrl-C."""

    stop_requested = interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's signature
        """Its own would end the process by the same signal once more, which is no exit code."""
        self.force_exit = self.should_exit
        self.should_exit = self.stop_requested = True
        self.interrupted = sig == signal.SIGINT

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        with counted_handshakes(cast("Config", self.config).connection_limits):
            await super().startup(sockets)

    def raise_unless_stopped(self, what: str) -> None:
        """Once it has ended: KeyboardInterrupt when Ctrl-C ended it.

        Raises:
            UserError: no signal ended it. A service manager restarts what failed, and not what ended with exit code 0.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        if not self.stop_requested:
            raise UserError(f"the {what} ended without being stopped; its log says why", Exit.NO)


def configured(app: Starlette, limits: ConnectionLimits, *, tls: SSLContext | None, most_message_bytes: int) -> Config:
    """Uvicorn's configuration with our protocols and `limits`. A longer WebSocket message is closed with 1009."""
    config = Config(
        app,
        http=LimitedHttp,
        ws=BoundedWebSocket,
        ws_max_size=most_message_bytes,
        # PCM does not compress; deflate would cost 96 KiB and a good share of a core.
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        log_config=None,
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    config.connection_limits = limits
    return config


def address_of(host: str, port: int, tls: SSLContext | None) -> str:
    """Where it listens, as an address to open."""
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def run_in_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in the event loop that uvicorn would choose."""
    factory = uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
