"""uvicorn's WebSocket, for clients that we make wait.

While a stream is too far behind its socket is not read, and the answers to our pings lie unread behind its audio. They
say nothing about the client then, and a client is not dead that still sends.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """See the module."""

    _heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._heard_at = self.loop.time()
        super().data_received(data)

    def keepalive_timeout(self) -> None:
        """A ping was not answered in time; uvicorn calls this."""
        if not self.read_paused and self._heard_at <= self.ping_sent_at:
            super().keepalive_timeout()
            return
        self.pong_timer = self.pending_ping_payload = None
        self.schedule_ping()
