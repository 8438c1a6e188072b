"""Messages of a client's WebSocket, also those that arrive while its model loads."""

import asyncio
from collections import deque
from typing import Any

from starlette.websockets import WebSocket

_BUFFER_BYTES = 1 << 20
"""Kept of what a client sends while its model loads; beyond it the socket is not read until the model is there."""
_MESSAGE_BYTES = 64
"""What a message costs beside its content."""


class MessageReader:
    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._buffered: deque[dict[str, Any]] = deque()

    async def receive(self) -> dict[str, Any]:
        """The next ASGI message, the buffered ones first."""
        return self._buffered.popleft() if self._buffered else dict(await self._socket.receive())

    async def wait_for_disconnect(self) -> None:
        """Return when the client is gone. What it sends until then is buffered for `receive`."""
        size = 0
        while size < _BUFFER_BYTES:
            message = dict(await self._socket.receive())
            self._buffered.append(message)
            if message["type"] == "websocket.disconnect":
                return
            size += len(message.get("bytes") or message.get("text") or "") + _MESSAGE_BYTES
        await asyncio.Event().wait()
