"""What one connection may cost: budgets that fill up again, and turns on the event loop.

Measured: a frame costs the front 26 to 56 µs, whatever it holds, and a handshake one to two milliseconds. So a stream
of frames of 10 ms is a two-hundredth of a core, and a flood of empty ones is all of it.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

FRAMES = 500.0, 2000.0
"""Frames a second, and at once: beyond it a socket is read more slowly. Streams send 10 to 100."""
BYTES = float(8 << 20), float(16 << 20)
"""The same of bytes."""
SMALL_BYTES = 64
SMALL_FRAMES = 250.0, 2000.0
"""Of frames under 64 bytes, which hold no sound to speak of: beyond it a connection is ended."""
CONTROL_FRAMES = 20.0, 200.0
"""The same of pings and pongs."""
SILENT_MESSAGES = 100.0, 1000.0
"""The same of messages that bring no sound: flushes, keep-alives, events, empty ones."""
SHORT_MESSAGES = 500.0, 2000.0
"""Messages with less than 5 ms of sound a second, and at once: beyond it they are taken more slowly."""
SHORT_SECONDS = 0.005
SOUND = 50.0, 120.0
"""Seconds of sound a second, and at once: a file is taken as fast as that, if it is decoded as fast."""
ALL_SECONDS = 0.25, 0.25
"""Seconds of the event loop a second, and at once, for all HTTP requests: an answer takes 0.3 to 2 ms of them."""
ADDRESS_SECONDS = 0.1, 0.2
"""The same for those of one address. A poller that asks for everything once a second takes a fiftieth of it."""
WEBSOCKET_SECONDS = 0.0005
"""What the handshake of a WebSocket is counted as, of those of its address: 400 at once and 200 a second may begin. It
costs up to three times that; but a fleet of clients that comes back by way of one proxy is no attack."""
MESSAGES_IN_A_TURN = 64
"""So many messages of one client are handled before others have their turn."""
_LEAST_WORK_SECONDS = 0.0005
"""What a newcomer's work counts for at least: it leaves more to do behind it."""
TURN_SECONDS = 0.002
"""So long may one connection, or all newcomers together, keep the event loop in one turn."""


class ConnectionBudget:
    """So much a second, and so much at once. Times are seconds of any clock. `owed` at most, whatever was taken."""

    __slots__ = ("_at", "_left", "_most", "_owed", "_rate")

    def __init__(self, rate_and_most: tuple[float, float], owed: float = math.inf) -> None:
        self._rate, self._most = rate_and_most
        self._left, self._owed = self._most, owed
        self._at = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Spend; whether it was there."""
        self._fill(now)
        self._left = max(-self._owed, self._left - amount)
        return self._left >= 0

    def wait(self, now: float) -> float:
        """Seconds until nothing is owed."""
        self._fill(now)
        return max(0.0, -self._left / self._rate)

    def _fill(self, now: float) -> None:
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now


@dataclass
class Spending:
    """What a WebSocket has left."""

    frames: ConnectionBudget
    bytes: ConnectionBudget
    small: ConnectionBudget
    control: ConnectionBudget

    @classmethod
    def new(cls) -> "Spending":
        """Of a connection that begins."""
        return cls(
            ConnectionBudget(FRAMES),
            ConnectionBudget(BYTES),
            ConnectionBudget(SMALL_FRAMES),
            ConnectionBudget(CONTROL_FRAMES),
        )

    def wait(self, now: float) -> float:
        """Seconds that its socket is not read."""
        return max(self.frames.wait(now), self.bytes.wait(now))

    def frame(self, size: int, now: float, *, control: bool) -> str | None:
        """Count a frame. Why the connection ends, if it does."""
        self.frames.take(1, now)
        if control and not self.control.take(1, now):
            return f"too many control frames; at most {CONTROL_FRAMES[0]:.0f} a second"
        if not control and size < SMALL_BYTES and not self.small.take(1, now):
            return f"too many frames under {SMALL_BYTES} bytes; at most {SMALL_FRAMES[0]:.0f} a second"
        return None


class NewcomerTurns:
    """Newcomers' work, a little in each turn of the event loop: a thousand of them at once delay nobody for long."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._spent = 0.0
        self._next: asyncio.Handle | None = None

    def take(self, work: Callable[[], None], *, first: bool = True) -> None:
        """Do it now if there is time in this turn, else in one of the next; those known before go first."""
        if first:
            self._waiting.append(work)
        else:
            self._waiting.appendleft(work)
        if self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._turn)
            self._work()

    def _turn(self) -> None:
        self._spent = 0.0
        self._next = asyncio.get_running_loop().call_soon(self._turn) if self._waiting else None
        self._work()

    def _work(self) -> None:
        while self._waiting and self._spent < TURN_SECONDS:
            began = time.perf_counter()
            self._waiting.popleft()()
            self._spent += max(_LEAST_WORK_SECONDS, time.perf_counter() - began)
