"""uvicorn's HTTP, with bounds and deadlines for heads, trailers and everything else between the bodies.

Without them a client that sends half a head holds a file descriptor for ever, and one that sends trailers without end
fills the memory. A body is bounded by its reader, and does not count here, also where it arrives with its head.
"""

import asyncio
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger("whisper_ops.server")

HEAD_SECONDS = 10.0
"""For a head, from the connection's or the last request's end."""
REST_SECONDS = 30.0
"""For what is left of a body whose request is answered: it is read and thrown away."""
LINGER_SECONDS = 2.0
"""For a client to read why it was refused."""
HEAD_BYTES = 64 << 10
"""For the address and the headers of a request, its trailers, and whatever else is neither head nor body."""
LINE_BYTES = 8 << 10
"""For the request line and for each header of a WebSocket's handshake, which is read once more by a stricter parser."""
HEADERS = 128
"""In such a handshake."""
_TOO_LARGE = "the address and headers of a request may have at most 64 KiB"


def handshake_error(method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, str] | None:
    """Why a WebSocket's handshake is refused, as a status and a sentence; None: it is not."""
    if method != b"GET":
        return 405, "the handshake of a WebSocket is a GET"
    if len(method) + len(url) + len(b"  HTTP/1.1\r\n") > LINE_BYTES:
        return 414, "the address of a WebSocket may have at most 8 KiB"
    if any(byte <= 32 or byte >= 127 for byte in url):
        return 400, "the address of a WebSocket is ASCII without spaces; escape everything else"
    if len(headers) > HEADERS or any(len(name) + len(value) + 4 > LINE_BYTES for name, value in headers):
        return 431, "the handshake of a WebSocket may have 128 headers of at most 8 KiB"
    bodies = {b"transfer-encoding", b"content-length"}
    if any(name in bodies and value.strip() != b"0" for name, value in headers):
        return 400, "the handshake of a WebSocket has no body"
    return None


class BoundedHttp(HttpToolsProtocol):
    _deadline: asyncio.TimerHandle | None = None
    _paused_seconds: float | None = None
    """Of a deadline that does not run now."""
    _head_bytes = 0
    _unproductive_bytes = 0
    """Received since the parser last made progress: an unfinished header, the frames of chunks."""
    _progressed = False
    _request_read = True
    """Whether the newest request was read to its end."""
    _in_head = True
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._set_deadline(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._progressed = False
        super().data_received(data)
        self._unproductive_bytes = 0 if self._progressed else self._unproductive_bytes + len(data)
        if self._unproductive_bytes > HEAD_BYTES and not self._refused:
            self._refuse()

    # --- httptools calls these -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Another head begins."""
        super().on_message_begin()
        self._progressed, self._head_bytes, self._in_head = True, 0, True
        if self._deadline is None:
            self._set_deadline(HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is dropped."""
        self._count_head(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._cancel_deadline()
        self._progressed, self._in_head, self._request_read = True, False, False
        if self.parser.should_upgrade() and self._should_upgrade():
            error = handshake_error(self.parser.get_method(), self.url, self.headers)
            if error is not None:
                self._refuse(*error, linger=True)
                raise ValueError("no handshake")  # stops the parser
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is read to its end."""
        self._progressed = self._request_read = True
        super().on_message_complete()
        if self._all_answered():
            # It was answered before: uvicorn's own wait for the next one is over already.
            self._cancel_deadline()
            self._set_deadline(HEAD_SECONDS)

    # --- uvicorn calls these -------------------------------------------------------------------------

    def handle_websocket_upgrade(self) -> None:
        """The handshake of a WebSocket is complete. One that its own parser does not understand is answered too."""
        try:
            super().handle_websocket_upgrade()
        except Exception as error:  # noqa: BLE001  # whatever the bytes of a client can raise there
            log.info("A handshake could not be read: %s", error)
        if getattr(self.transport.get_protocol(), "handshake_initiated", False) or self.transport.is_closing():
            return
        ours = [one for one in self.connections if one is not self and one.transport is self.transport]
        self.connections.difference_update(ours)
        self.connections.add(self)
        self.transport.set_protocol(self)
        self._refuse(400, "this is not the handshake of a WebSocket", linger=True)

    def on_response_complete(self) -> None:
        """A request is answered."""
        super().on_response_complete()
        if not self._request_read and self.cycle.response_complete and not self.transport.is_closing():
            self._set_deadline(REST_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Parsing has stopped."""
        if not self._refused:
            super().send_400_response(msg)

    # ------------------------------------------------------------------------------------------------

    def _all_answered(self, *, before_first: bool = False) -> bool:
        """Whether every request so far is answered; `before_first`: what it is when there was none."""
        cycle: Any = self.cycle
        return before_first if cycle is None else bool(cycle.response_complete)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES:
            self._refuse()
            raise ValueError("too large a head")  # stops the parser

    def _refuse(self, status: int = 431, message: str = _TOO_LARGE, *, linger: bool = False) -> None:
        """Answer why, unless an answer is on its way already, and close; `linger`: give the client time to read it."""
        self._refused = True
        self._cancel_deadline()
        if self._all_answered(before_first=True):
            body = message.encode()
            lines = [
                b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()),
                b"content-type: text/plain; charset=utf-8",
                b"content-length: %d" % len(body),
                b"connection: close",
                b"",
                body,
            ]
            self.transport.write(b"\r\n".join(lines))
            if linger and self.transport.can_write_eof():
                # Hanging up on what is still on its way would reset the connection before the answer is read.
                self.transport.write_eof()
                self._set_deadline(LINGER_SECONDS)
            else:
                self.transport.close()
        else:
            self.transport.abort()

    def _set_deadline(self, seconds: float) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _cancel_deadline(self) -> None:
        self._paused_seconds = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _pause_deadline(self) -> None:
        """The client waits for us: neither its deadline nor uvicorn's for the next request runs meanwhile."""
        self._unset_keepalive_if_required()
        if self._deadline is not None:
            left = max(0.0, self._deadline.when() - self.loop.time())
            self._cancel_deadline()
            self._paused_seconds = left

    def _resume_deadline(self) -> None:
        if self._paused_seconds is not None:
            self._set_deadline(self._paused_seconds)
