"""Messages on their way to one client."""

import asyncio
from collections import deque

from server import ipc

OUTBOX_LIMIT = 2048
"""Messages that a client may leave unread before its session ends."""


class Outbox:
    """A queue in which a newer partial or final takes the place of an unsent partial."""

    __slots__ = ("_items", "_wake", "closed")

    def __init__(self) -> None:
        self._items: deque[ipc.Message] = deque()
        self._wake = asyncio.Event()
        self.closed = False

    def put(self, message: ipc.Message) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(message, ipc.Partial | ipc.Final) and isinstance(last, ipc.Partial):
            self._items.pop()
        self._items.append(message)
        self._wake.set()

    def close(self) -> None:
        """Let `get` return None once everything is taken."""
        self.closed = True
        self._wake.set()

    async def get(self) -> ipc.Message | None:
        """The next message; None when closed and empty."""
        while not self._items:
            if self.closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)
