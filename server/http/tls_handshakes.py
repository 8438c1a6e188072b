"""TLS handshakes, counted among the connections without a stream from the moment that they are accepted.

asyncio and uvloop show a connection only when its handshake is over, which may take ten seconds and a descriptor. So
this accepts it in the clear, counts it, and has it encrypted then.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from server.connections.connection_limits import ConnectionLimits, unread
from server.connections.request_fairness import ESTIMATE_SECONDS
from server.http.bounded_http import HEAD_SECONDS

_COST_SECONDS = 0.001
"""Of the event loop, measured with a key of 2,048 bits (RSA): it is paid for like a request."""

log = logging.getLogger("whisper_ops.server")


class _Handshake(asyncio.Protocol):
    """One connection until its handshake is over. `made`: the protocol that goes on."""

    def __init__(
        self, sock: socket.socket, made: Callable[[], asyncio.Protocol], tls: ssl.SSLContext, limits: ConnectionLimits
    ) -> None:
        self._socket, self._made, self._tls, self._limits = sock, made, tls, limits
        try:
            self._address = str(sock.getpeername()[0])
        except OSError:  # it is gone already
            self._address = ""
        self._work: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Count it, and shake hands when it is its turn."""
        if self._limits.admit(self):
            self._limits.requests.take(self._address, 0.0, self._begin, first=True)

    def _begin(self) -> None:
        gone = self._socket.fileno() < 0
        self._limits.requests.spend(self._address, (0.0 if gone else _COST_SECONDS) - ESTIMATE_SECONDS)
        if not gone:
            self._work = asyncio.get_running_loop().create_task(self._shake_hands())

    async def _shake_hands(self) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self, self._socket, ssl=self._tls, ssl_handshake_timeout=HEAD_SECONDS
            )
        except OSError as error:  # whatever came was no handshake, or none came
            log.debug("A TLS handshake came to nothing: %s", error)
        finally:
            self._limits.release(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        self._limits.release(self)
        protocol = self._made()
        cast("asyncio.Transport", transport).set_protocol(protocol)
        protocol.connection_made(transport)

    # --- counted by `connection_limits` ------------------------------------------------------------------

    @property
    def address(self) -> str:
        return self._address

    @property
    def idle(self) -> bool:
        return not unread(self._socket.fileno())

    def turn_away(self) -> None:
        if self._work is None:
            self._socket.close()
        else:
            self._work.cancel()


@contextmanager
def counted_handshakes(limits: ConnectionLimits) -> Iterator[None]:
    """Servers that are made in this block, as uvicorn makes them, count what they accept before it is encrypted."""
    loop: Any = asyncio.get_running_loop()
    listen = loop.create_server

    async def create_server(made: Callable[[], asyncio.Protocol], **options: object) -> asyncio.Server:
        tls, accepts = options.pop("ssl", None), made
        if isinstance(tls, ssl.SSLContext):
            accepts = partial(TlsHandshakes, made, tls, limits)
        server: asyncio.Server = await listen(accepts, **options)
        return server

    loop.create_server = create_server  # uvicorn has no option for it
    try:
        yield
    finally:
        loop.create_server = listen


class TlsHandshakes(asyncio.Protocol):
    """What is accepted in the clear becomes a handshake before a byte of it is read."""

    def __init__(self, made: Callable[[], asyncio.Protocol], tls: ssl.SSLContext, limits: ConnectionLimits) -> None:
        self._made, self._tls, self._limits = made, tls, limits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A transport that is to be encrypted later may have read by then; a socket has not."""
        try:
            sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        except OSError as error:
            log.info("A connection could not be accepted: %s", error.strerror)
        else:
            sock.setblocking(False)
            _Handshake(sock, self._made, self._tls, self._limits).begin()
        finally:
            cast("asyncio.Transport", transport).abort()
