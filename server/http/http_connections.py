"""HTTP connections: they hold no slot, so their number is limited, and their requests begin in turns."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from server.connections.budgets import WEBSOCKET_SECONDS
from server.connections.connection_limits import MOST_UNREAD_BYTES, ConnectionLimits, unread
from server.connections.request_fairness import ESTIMATE_SECONDS, Metered
from server.http.bounded_http import BoundedHttp

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 32\r\n\r\n"
    b'{"error":"too many connections"}'
)


_PIECE = 256
"""Bytes taken at once while a request may begin in them: few whole ones fit."""


class Config(uvicorn.Config):
    """uvicorn's configuration, and the limits of its connections."""

    connection_limits: ConnectionLimits


class LimitedHttp(BoundedHttp):
    _advance_seconds = 0.0
    """Spent for a request that has not begun to be answered."""
    _body_left: int | None = None
    """Bytes of the newest request's body that are still to come; None: unknown."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._limits: ConnectionLimits = getattr(self.config, "connection_limits", ConnectionLimits())
        self._unread = bytearray()
        self._served = 0.0
        self._application, self.app = self.app, self._metered
        self._limits.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limits.release(self)
        self._limits.unread_bytes -= len(self._unread)
        self._unread.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        self._limits.unread_bytes += len(data)
        if self._limits.unread_bytes > MOST_UNREAD_BYTES:
            self._limits.turned_away += 1
            self.turn_away()
            return
        if not self._answered:
            self._feed_parser()
        elif len(self._unread) == len(data):
            self.transport.pause_reading()
            self._wait_for_turn(self._read_request)

    def _wait_for_turn(self, begin: Callable[[], None]) -> None:
        """Call `begin` when it is the address's turn, with ESTIMATE_SECONDS charged; no deadline runs until then."""

        def begin_turn() -> None:
            self._advance_seconds = ESTIMATE_SECONDS
            self._resume_deadline()
            begin()
            if self._answered or self.transport.is_closing():
                self._return_advance()

        self._pause_deadline()
        requests = self._limits.requests
        self._served = requests.served(self.address, self._served)
        requests.take(self.address, self._served, begin_turn, first=cast("Any", self.cycle) is None)

    def _read_request(self) -> None:
        """Read what may be a request."""
        began = time.thread_time()
        self._resume_reading()
        if self.transport.get_protocol() is self:  # handshakes of WebSockets have their own price
            self._spend(time.thread_time() - began)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """A request that came in one piece with the one before has a turn of its own."""
        start = partial(super()._start_asgi_task, cycle, app)
        if self._advance_seconds:
            start()
        else:
            self._wait_for_turn(start)

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self._feed_parser()

    def _return_advance(self) -> None:
        advance, self._advance_seconds = self._advance_seconds, 0.0
        self._limits.requests.spend(self.address, -advance)

    def _spend(self, seconds: float) -> None:
        self._served += seconds
        self._limits.requests.spend(self.address, seconds)

    async def _metered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application; the processor time that it takes is charged to the client's address."""
        self._return_advance()
        await Metered(self._application(scope, receive, send), self._spend)

    def _feed_parser(self) -> None:
        """Parse what was received, up to the end of a request: the next one waits until that is answered."""
        while self._unread and (size := self._acceptable_bytes()):
            data = bytes(self._unread[:size])
            del self._unread[:size]
            self._limits.unread_bytes -= len(data)
            super().data_received(data)
        if self._unread and not self.transport.is_closing():
            self.transport.pause_reading()

    def _acceptable_bytes(self) -> int:
        """Bytes that may be taken at once: none while a request that was read is not answered."""
        if self.pipeline or self.transport.is_closing() or self.transport.get_protocol() is not self:
            return 0
        if self._answered:
            return _PIECE
        if self._request_read:
            return 0
        return _PIECE if self._body_left is None else max(1, self._body_left)

    def on_response_complete(self) -> None:
        """The base class resumes reading here."""
        super().on_response_complete()
        if self._unread and not self.transport.is_closing():
            self.transport.pause_reading()
            if self._answered:
                self._wait_for_turn(self._read_request)
            elif not self.pipeline:
                self.loop.call_soon(self._resume_reading)  # the body of the request that begins now

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._limits.mark_active(self)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        headers = dict(self.headers)
        self._body_left = None if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))

    def on_body(self, body: bytes) -> None:
        if self._body_left is not None:
            self._body_left -= len(body)
        super().on_body(body)

    def handle_websocket_upgrade(self) -> None:
        """The WebSocket is counted by itself."""
        self._limits.requests.spend(self.address, WEBSOCKET_SECONDS)
        self._limits.release(self)
        super().handle_websocket_upgrade()

    @property
    def _answered(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    # --- counted by `connection_limits` ------------------------------------------------------------------

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def idle(self) -> bool:
        return self._answered and not self._unread and not unread(self.transport.get_extra_info("socket").fileno())

    def turn_away(self) -> None:
        if not self.transport.is_closing():
            first: Any = self.cycle
            self.transport.write(b"" if first else _BUSY)
            self.transport.close()
