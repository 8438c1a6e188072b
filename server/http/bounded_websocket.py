"""uvicorn's WebSocket within budgets, whose clients may leave at any moment.

What a client sends is parsed in small pieces, so that no other waits long for its turn. One that sends more frames or
bytes than its budget (`server.connections.budgets`) is read more slowly; one that floods is closed with 1008.

While a stream is too far behind its socket is not read, and the answers to our pings lie unread behind its audio. So a
missing pong does not mean that the client is dead, as long as it sends.
"""

import asyncio
import time
from typing import cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from server.connections.budgets import TURN_SECONDS, Spending
from server.connections.connection_limits import ConnectionLimits, unread

LINGER_SECONDS = 0.5
"""A socket that we close stays open so long, unread, for the close frame to arrive."""
_LEAST_PIECE, _LARGEST_PIECE = 512, 64 << 10
_MANY_FRAMES = 16


class BoundedWebSocket(WebSocketsSansIOProtocol):
    _last_received_at = 0.0
    _ended = False
    _closed_by_us = False
    _frames_seen = 0
    _piece = 4096
    """Bytes taken at once: fewer where they hold many frames."""
    _next_turn: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._unread = bytearray()
        self._spending = Spending.new()
        self.connection_limits: ConnectionLimits = getattr(self.config, "connection_limits", ConnectionLimits())
        self.connection_limits.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._unread.clear()
        if self._next_turn is not None:
            self._next_turn.cancel()
        self.connection_limits.release(self)
        super().connection_lost(exc)

    # --- received -------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._last_received_at = self.loop.time()
        if self._ended:
            return
        self._unread += data
        if self._next_turn is None:
            self._read_turn()

    def _read_turn(self) -> None:
        """Parse what was received, piece by piece, for as long as a turn lasts and the budgets allow."""
        self._next_turn = None
        began = time.perf_counter()
        while self._unread and not self._ended:
            wait = self._spending.wait(self.loop.time())
            if wait or time.perf_counter() - began > TURN_SECONDS:
                self.transport.pause_reading()
                self._next_turn = self.loop.call_later(wait, self._read_turn)
                return
            self._read_piece()
        if not self.read_paused and not self._ended and not self.transport.is_closing():
            self.transport.resume_reading()

    def _read_piece(self) -> None:
        piece = bytes(memoryview(self._unread)[: self._piece])
        del self._unread[: self._piece]
        before = self._frames_seen
        self._spending.bytes.take(len(piece), self.loop.time())
        super().data_received(piece)
        many = self._frames_seen - before > _MANY_FRAMES
        self._piece = max(_LEAST_PIECE, self._piece // 4) if many else min(_LARGEST_PIECE, self._piece * 2)

    def _charge_frame(self, size: int, *, control: bool = False) -> bool:
        """Count a frame. Returns whether it is within the budgets; if not, the connection is closed."""
        self._frames_seen += 1
        if self._ended:
            return False
        reason = self._spending.frame(size, self.loop.time(), control=control)
        if reason is not None:
            self.connection_limits.flooded["control" if control else "frames"] += not self.close_sent
            self._end(reason)
        return reason is None

    def _end(self, reason: str) -> None:
        self._ended = True
        self._unread.clear()
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1008, "reason": reason})
        if not self.close_sent and not self.transport.is_closing():
            self.conn.data_to_send()  # pongs that nobody needs any more
            self.conn.fail(1008, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.transport.pause_reading()
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def handle_text(self, event: Frame) -> None:
        if self._charge_frame(len(event.data)):
            super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        if self._charge_frame(len(event.data)):
            super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        if self._charge_frame(len(event.data)):
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """A client that does not read what we send gets no more pongs."""
        if self._charge_frame(0, control=True):
            if self.writable.is_set():
                super().handle_ping()
            else:
                self.conn.data_to_send()

    def handle_pong(self, event: Frame) -> None:
        if self._charge_frame(len(event.data), control=True):
            super().handle_pong(event)

    async def send(self, message: ASGISendEvent) -> None:
        """Raises ClientDisconnected where the client closed, or was closed, before the application sent this."""
        # uvicorn calls that a fault of the application as long as the transport is there.
        if self.close_sent and not self._closed_by_us:
            raise ClientDisconnected
        # A client that leaves just before the upgrade is not upgraded; uvicorn takes the next message for our fault.
        if not self.handshake_complete and self.initial_response is None and self.transport.is_closing():
            raise ClientDisconnected
        self._closed_by_us = self._closed_by_us or message["type"] == "websocket.close"
        try:
            await super().send(message)
        except RuntimeError as error:
            # uvloop, of a client that hung up before it was answered.
            if "write_eof" not in str(error):
                raise
            raise ClientDisconnected from error

    async def receive(self) -> ASGIReceiveEvent:
        """Uvicorn resumes reading here."""
        message = await super().receive()
        if (self._next_turn is not None or self._ended) and not self.transport.is_closing():
            self.transport.pause_reading()
        return message

    # --- our pings ----------------------------------------------------------------------------------

    def keepalive_timeout(self) -> None:
        """A ping was not answered in time; uvicorn calls this."""
        if not self.read_paused and self._next_turn is None and self._last_received_at <= self.ping_sent_at:
            super().keepalive_timeout()
            return
        self.pong_timer = self.pending_ping_payload = None
        self.schedule_ping()

    # --- counted by `connection_limits` until it has a slot ---------------------------------------------------

    async def run_asgi(self) -> None:
        """The application says when the client has a slot."""
        extensions = cast("dict[str, object]", self.scope["extensions"])
        extensions["whisper_ops.slot_taken"] = self.slot_taken
        await super().run_asgi()

    def slot_taken(self) -> None:
        """The stream has a slot, and slots are bounded by themselves: it is no longer counted here."""
        self.connection_limits.release(self)

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def idle(self) -> bool:
        return self.handshake_complete and not unread(self.transport.get_extra_info("socket").fileno())

    def turn_away(self) -> None:
        self._end("too many connections without a stream")
