"""Connections that hold no slot: how many there may be, in all and from one address, and who makes room for whom.

A connection costs a descriptor before anybody knows who it is. There are fewer of them than the process may open, so
that health checks, workers and logs always get theirs; and a newcomer is not kept out by those who say nothing: the one
that has said nothing for longest makes room. When all are at work the newcomer is turned away.
"""

import itertools
import select
from collections import Counter
from typing import Protocol

from server.front.budgets import Turns
from server.front.request_turns import RequestTurns

RESERVE = 64
"""Descriptors beside slots and these connections: the listener, workers, models, logs, and what reads /proc."""
MOST = 2048
"""However many descriptors there are: memory and the event loop are bounds too."""
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


class Slotless(Protocol):
    """A connection that holds no slot, or none yet."""

    @property
    def address(self) -> str:
        """Where it came from."""
        ...

    @property
    def idle(self) -> bool:
        """Whether nothing that it asked for would remain unanswered."""
        ...

    def turn_away(self) -> None:
        """Close it now."""
        ...


class ConnectionLimits:
    """See the module. `turned_away` counts; `turns` are those of newcomers, `requests` those of HTTP requests."""

    def __init__(self, most: int = MOST, most_of_an_address: int | None = None) -> None:
        self.most = most
        self.most_of_an_address = most_of_an_address or max(1, most // 2)
        self.turned_away = self.unread_bytes = 0
        self.flooded: Counter[str] = Counter()
        """Connections that were ended for what they sent, by kind."""
        self.turns = Turns()
        self.requests = RequestTurns(self.turns)
        self._slotless: dict[int, Slotless] = {}
        self._of: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._slotless)

    def admit(self, connection: Slotless) -> bool:
        """Whether there is room for one more, if need be that of another."""
        crowded = self._of[connection.address] >= self.most_of_an_address
        if crowded or len(self._slotless) >= self.most:
            self.turned_away += 1
            oldest = itertools.islice(self._slotless.values(), _LOOKED_AT)
            leaving = next((g for g in oldest if (not crowded or g.address == connection.address) and g.idle), None)
            if leaving is None:
                connection.turn_away()
                return False
            self.release(leaving)
            leaving.turn_away()
        self._slotless[id(connection)] = connection
        self._of[connection.address] += 1
        return True

    def heard_from(self, connection: Slotless) -> None:
        """It is the last now that has to leave."""
        if (found := self._slotless.pop(id(connection), None)) is not None:
            self._slotless[id(connection)] = found

    def release(self, connection: Slotless) -> None:
        """It is gone, or has a slot now. Twice does nothing."""
        if self._slotless.pop(id(connection), None) is not None:
            self._of[connection.address] -= 1
            if not self._of[connection.address]:
                del self._of[connection.address]


def limits_for(descriptors: int | None, streams: int) -> ConnectionLimits:
    """As many connections as the descriptors leave room for beside the streams; None: no bound on them."""
    return ConnectionLimits(MOST if descriptors is None else max(16, min(MOST, descriptors - streams - RESERVE)))
