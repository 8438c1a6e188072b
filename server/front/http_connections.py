"""HTTP connections: they hold no slot, so their number is limited, and their requests begin in turns."""

import asyncio
from typing import Any

import uvicorn

from server.front.connection_limits import ConnectionLimits, unread
from server.front.http import BoundedHttp

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 32\r\n\r\n"
    b'{"error":"too many connections"}'
)


_HEAD_PIECE = 256
"""Bytes taken at once while a request is expected: few whole ones fit."""


class Config(uvicorn.Config):
    """uvicorn's configuration, and the limits of its connections."""

    connection_limits: ConnectionLimits


class LimitedHttp(BoundedHttp):
    """See the module."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._limits: ConnectionLimits = getattr(self.config, "connection_limits", ConnectionLimits())
        self._early = bytearray()
        self._limits.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._limits.release(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._early += data
        if not self._answered:
            self._go_on()
        elif len(self._early) == len(data):
            self.transport.pause_reading()
            self._take_turn()

    def _take_turn(self) -> None:
        cycle: Any = self.cycle
        self._limits.turns.take(self._begin, first=cycle is None)

    def _begin(self) -> None:
        """It is this newcomer's turn."""
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self._go_on()

    def _go_on(self) -> None:
        """Take what was brought, up to the end of a request: the next one waits until that is answered."""
        while self._early and not self.pipeline and not self.transport.is_closing():
            size = _HEAD_PIECE if self._answered else len(self._early)
            data = bytes(self._early[:size])
            del self._early[:size]
            super().data_received(data)
        if self._early and not self.transport.is_closing():
            self.transport.pause_reading()

    def on_response_complete(self) -> None:
        """See `BoundedHttp`, which begins to read again here."""
        super().on_response_complete()
        if self._early and not self.transport.is_closing():
            self.transport.pause_reading()
            if self._answered:
                self._take_turn()
            elif not self.pipeline:
                self.loop.call_soon(self._begin)  # the body of the request that begins now

    def on_message_begin(self) -> None:
        """See `BoundedHttp`."""
        super().on_message_begin()
        self._limits.heard_from(self)

    def handle_websocket_upgrade(self) -> None:
        """See `HttpToolsProtocol`; the WebSocket is counted by itself."""
        self._limits.release(self)
        super().handle_websocket_upgrade()

    @property
    def _answered(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    # --- counted by `connection_limits` ------------------------------------------------------------------

    @property
    def address(self) -> str:
        """See `Slotless`."""
        return self.client[0] if self.client else ""

    @property
    def idle(self) -> bool:
        """See `Slotless`."""
        return self._answered and not self._early and not unread(self.transport.get_extra_info("socket").fileno())

    def turn_away(self) -> None:
        """See `Slotless`."""
        if not self.transport.is_closing():
            first: Any = self.cycle
            self.transport.write(b"" if first else _BUSY)
            self.transport.close()
