"""uvicorn's WebSocket, for clients that we make wait, and for those that leave.

While a stream is too far behind its socket is not read, and the answers to our pings lie unread behind its audio. They
say nothing about the client then, and a client is not dead that still sends.
"""

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """See the module."""

    _heard_at = 0.0
    _closed_by_us = False

    async def send(self, message: ASGISendEvent) -> None:
        """See ASGI.

        Raises:
            ClientDisconnected: the client closed, or was given up, while the application was about to say something.
        """
        # uvicorn calls that a fault of the application as long as the transport is there.
        if self.close_sent and not self._closed_by_us:
            raise ClientDisconnected
        self._closed_by_us = self._closed_by_us or message["type"] == "websocket.close"
        await super().send(message)

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
