"""A client that leaves while it is answered is one line in the log, not a traceback."""

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

log = logging.getLogger("whisper_ops.server")

GONE = (ClientDisconnect, WebSocketDisconnect, ClientDisconnected)
"""What starlette and uvicorn raise from a read or a write once nobody is there."""


class Disconnects:
    """The outermost layer, so that it covers everything that answers. Plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await self._app(scope, receive, send)
        except GONE:
            log.info("A client left before %s was answered", scope["path"])
