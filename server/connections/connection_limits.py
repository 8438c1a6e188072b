"""Connections without a slot: how many there may be, in all and from one address, and which is closed for a new one.

A connection costs a descriptor before it is known who it is. There may be fewer of them than the process may open, so
that health checks, workers and logs always get theirs. Idle connections keep no new one out: the one that is idle for
longest is closed. When none is idle the new one is turned away.
"""

import itertools
import select
from collections import Counter
from typing import Protocol

from server.connections.budgets import NewcomerTurns
from server.connections.client_addresses import client_network
from server.connections.open_files import MOST_CONNECTIONS, RESERVE
from server.connections.request_fairness import RequestTurns

MOST_UNREAD_BYTES = 64 << 20
"""Of requests that wait for their turn, of all connections together: one holds up to 256 KiB."""
_LOOKED_AT = 64
"""Connections that are asked whether they are idle, for one newcomer."""


def unread(descriptor: int) -> bool:
    """Whether a socket has brought something that nobody has read."""
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False


class SlotlessConnection(Protocol):
    """A connection that holds no slot, or none yet."""

    @property
    def address(self) -> str:
        """Where it came from."""
        ...

    @property
    def idle(self) -> bool:
        """Whether it can be closed without leaving a request unanswered."""
        ...

    def turn_away(self) -> None:
        """Close it now."""
        ...


class ConnectionLimits:
    """`turned_away` counts; `turns` are those of newcomers, `requests` those of HTTP requests."""

    def __init__(self, most: int = MOST_CONNECTIONS, most_of_an_address: int | None = None) -> None:
        self.most = most
        self.most_of_an_address = most_of_an_address or max(1, most // 2)
        self.turned_away = self.unread_bytes = 0
        self.flooded: Counter[str] = Counter()
        """Connections that were ended for what they sent, by kind."""
        self.turns = NewcomerTurns()
        self.requests = RequestTurns(self.turns)
        self._slotless: dict[int, SlotlessConnection] = {}
        self._of: Counter[str] = Counter()

    def fit(self, descriptors: int | None, streams: int) -> None:
        """As many connections as the descriptors leave room for beside the streams; None: no bound on them.

        Those there are stay, and newcomers take the place of idle ones.
        """
        room = MOST_CONNECTIONS if descriptors is None else descriptors - streams - RESERVE
        self.most = max(16, min(MOST_CONNECTIONS, room))
        self.most_of_an_address = max(1, self.most // 2)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._slotless)

    def admit(self, connection: SlotlessConnection) -> bool:
        """Whether there is room for one more, if need be that of another."""
        who = client_network(connection.address)
        crowded = self._of[who] >= self.most_of_an_address
        if crowded or len(self._slotless) >= self.most:
            self.turned_away += 1
            oldest = itertools.islice(self._slotless.values(), _LOOKED_AT)
            leaving = next((g for g in oldest if (not crowded or client_network(g.address) == who) and g.idle), None)
            if leaving is None:
                connection.turn_away()
                return False
            self.release(leaving)
            leaving.turn_away()
        self._slotless[id(connection)] = connection
        self._of[who] += 1
        return True

    def mark_active(self, connection: SlotlessConnection) -> None:
        """Of all connections it is now the last to be closed for a new one."""
        if (found := self._slotless.pop(id(connection), None)) is not None:
            self._slotless[id(connection)] = found

    def release(self, connection: SlotlessConnection) -> None:
        """It is gone, or has a slot now. Twice does nothing."""
        if self._slotless.pop(id(connection), None) is not None:
            who = client_network(connection.address)
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]
