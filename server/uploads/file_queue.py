"""Which file is worked on next: a few at once, and no address keeps the others out.

The last free turn is for an address that has none. Of those that wait, the address with the fewest files in work goes
first.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.connections.client_addresses import client_network


class FileQueue:
    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._held: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], str] = {}

    @asynccontextmanager
    async def turn(self, address: str, seconds: float) -> AsyncIterator[None]:
        """Have a turn for as long as the block lasts.

        Raises:
            TimeoutError: there was none within `seconds`.
        """
        who = client_network(address)
        await self._take(who, seconds)
        try:
            yield
        finally:
            self._give_back(who)

    async def _take(self, who: str, seconds: float) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[granted] = who
        self._grant()
        try:
            await asyncio.wait_for(granted, seconds)
        except BaseException:
            if self._waiting.pop(granted, None) is None:  # granted just when nobody waited any more
                self._give_back(who)
            raise

    def _give_back(self, who: str) -> None:
        self._free += 1
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]
        self._grant()

    def _grant(self) -> None:
        while self._free:
            able = [
                (granted, who)
                for granted, who in self._waiting.items()
                if not granted.done() and (self._free > 1 or who not in self._held)
            ]
            if not able:
                return
            granted, who = min(able, key=lambda one: self._held[one[1]])
            del self._waiting[granted]
            self._free -= 1
            self._held[who] += 1
            granted.set_result(None)
