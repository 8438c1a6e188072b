"""Sending every stream's next chunk when it is due: one task for all streams instead of a sleeping one each.

Due times are fixed when a stream starts and never move, so that a slow sender shows as lateness and never as a gentler
load (coordinated omission).
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count

Send = Callable[[float], bool]
"""Sends one chunk; given its lateness in seconds, says whether there is another."""

_BURST = 32
"""How many chunks may go out before the loop gets to read what came in."""


class Pacer:
    """A heap of due times. `run` belongs in a task of its own; the streams' senders must not block."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, float, Send]] = []
        self._tie = count()
        self._woken = asyncio.Event()

    def add(self, first: float, step: float, send: Send) -> None:
        """Call `send` at `first`, then every `step` seconds, on the monotonic clock, until it returns False."""
        heapq.heappush(self._due, (first, next(self._tie), step, send))
        self._woken.set()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        while True:
            sent = 0
            while self._due and self._due[0][0] <= (now := time.monotonic()) and sent < _BURST:
                due, _, step, send = self._due[0]
                sent += 1
                if send(now - due):
                    heapq.heapreplace(self._due, (due + step, next(self._tie), step, send))
                else:
                    heapq.heappop(self._due)
            await self._wait()

    async def _wait(self) -> None:
        self._woken.clear()
        pause = self._due[0][0] - time.monotonic() if self._due else None
        if pause is not None and pause <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
        except TimeoutError:
            return
