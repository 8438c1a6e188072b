"""Whose HTTP request begins next, and when: all of them together have a share of the event loop, streams have the rest.

Requests are paid for with the processor time that they took. What one address may spend does not grow with the number
of its connections; addresses take turns, and the connections of one address share alike (start-time fair queueing,
Goyal and others 1996), so that a health check is answered beside a flood from the same machine, however long it was
asked for before. Nobody is turned away: whoever spent too much waits, unread.
"""

import asyncio
import heapq
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

from server.connections.budgets import ADDRESS_SECONDS, ALL_SECONDS, ConnectionBudget, NewcomerTurns
from server.connections.client_addresses import client_network

ESTIMATE_SECONDS = 0.0005
"""What a request is held to cost until that is known."""
_ADDRESSES = 4096
"""Of so many, the last seen, it is known what they spent."""
_MOST_OWED_SECONDS = 0.3
"""However much a few requests took, as files do: after three seconds their address may ask again."""
_LEAST_WAIT_SECONDS = 0.001


@dataclass
class _Network:
    """An address and its connections that wait: where each begins on the address's clock, and what begins it."""

    budget: ConnectionBudget
    clock: float = 0.0
    """What a connection that always wants its share was served by now, in seconds of the event loop."""
    waiting: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)


class RequestTurns:
    def __init__(
        self,
        turns: NewcomerTurns,
        all_seconds: tuple[float, float] = ALL_SECONDS,
        address_seconds: tuple[float, float] = ADDRESS_SECONDS,
    ) -> None:
        self._turns = turns
        self._all = ConnectionBudget(all_seconds)
        self._of_an_address = address_seconds
        self._networks: OrderedDict[str, _Network] = OrderedDict()
        self._round: deque[_Network] = deque()
        """Those with requests waiting that owe nothing."""
        self._numbers = itertools.count()
        self._pause: asyncio.TimerHandle | None = None

    def served(self, address: str, before: float) -> float:
        """Where a connection that was served `before` stands now: an idle one neither saves nor owes time."""
        return max(before, self._network(address).clock)

    def take(self, address: str, served: float, begin: Callable[[], None], *, first: bool) -> None:
        """Begin a request when it is its turn: at once if there is room, and then ESTIMATE_SECONDS are spent.

        `served`: of the method, with what the connection took since. `first`: see `NewcomerTurns`.
        """
        network = self._network(address)
        start = max(served, network.clock)
        heapq.heappush(network.waiting, (start, next(self._numbers), lambda: self._turns.take(begin, first=first)))
        if len(network.waiting) == 1:
            self._line_up(network)

    def spend(self, address: str, seconds: float) -> None:
        """What a request took of the event loop; less than nothing gives back what was too much."""
        now = time.monotonic()
        self._network(address).budget.take(seconds, now)
        self._all.take(seconds, now)

    def _network(self, address: str) -> _Network:
        who = client_network(address)
        found = self._networks.pop(who, None) or _Network(
            ConnectionBudget(self._of_an_address, owed=_MOST_OWED_SECONDS)
        )
        self._networks[who] = found
        if len(self._networks) > _ADDRESSES:
            oldest = next((name for name, one in self._networks.items() if not one.waiting), None)
            if oldest is not None:
                del self._networks[oldest]
        return found

    def _line_up(self, network: _Network) -> None:
        """Into the round, once what was spent is paid off."""
        wait = network.budget.wait(time.monotonic())
        if wait > 0:
            asyncio.get_running_loop().call_later(max(wait, _LEAST_WAIT_SECONDS), self._line_up, network)
        else:
            self._round.append(network)
            self._begin_some()

    def _begin_some(self) -> None:
        while self._round and self._pause is None:
            now = time.monotonic()
            wait = self._all.wait(now)
            if wait > 0:
                later = max(wait, _LEAST_WAIT_SECONDS)
                self._pause = asyncio.get_running_loop().call_later(later, self._go_on)
                return
            network = self._round.popleft()
            start, _, begin = heapq.heappop(network.waiting)
            # It goes on by itself too: clients that come, ask once and go would else be before all others for ever.
            network.clock = max(network.clock, start) + ESTIMATE_SECONDS / (len(network.waiting) + 1)
            network.budget.take(ESTIMATE_SECONDS, now)
            self._all.take(ESTIMATE_SECONDS, now)
            others_wait = bool(network.waiting)
            begin()  # before the next one lines up, which may begin at once
            if others_wait:
                self._line_up(network)

    def _go_on(self) -> None:
        self._pause = None
        self._begin_some()


class Metered:
    """Work of the event loop that tells, step by step, what processor time it took."""

    def __init__(self, work: Coroutine[Any, Any, None], spend: Callable[[float], None]) -> None:
        self._work, self._spend = work, spend

    def __await__(self) -> Generator[Any, Any, None]:
        """Pass on whatever the work waits for, and what comes of it."""
        step: Callable[[Any], Any] = self._work.send
        result: Any = None
        while True:
            began = time.thread_time()
            try:
                waits_for = step(result)
            except StopIteration:
                return
            finally:
                self._spend(time.thread_time() - began)
            try:
                step, result = self._work.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001  # cancelled, or closed: the work is to know it
                step, result = self._work.throw, error
