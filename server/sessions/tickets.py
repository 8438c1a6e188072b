"""Tickets of `/connect`: each reserves a slot, for a few seconds, for a client that is about to connect.

An address holds one slot by tickets at a time, and all tickets together hold half of the slots at most, so that a
client that only asks fills no server. A further ticket waits for its slot until the one before it was used or expired.
What was reserved before a GPU was lost stays reserved, also where it is more than half of what is left then.

A broker's tickets are vouched for: it says for which client each is. They hold their slots at once, half of all slots
for one client's address.
"""

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass

from server.sessions.counters import ServerCounters
from server.sessions.refusals import no_capacity
from server.sessions.slots import Slots

_TICKETS_PER_SLOT = 4
"""Open at once, for each slot there is."""


@dataclass(frozen=True)
class Ticket:
    """A ticket as it is given to a client."""

    value: str
    gpu_id: int | None
    """Where a slot is reserved for it; None: it waits for one."""
    expires_at: float
    """UTC epoch seconds."""
    number: int
    """How many were issued, with this one."""


@dataclass
class _OpenTicket:
    """One that no client has used yet."""

    network: str
    timer: asyncio.TimerHandle
    vouched: bool
    gpu_id: int | None = None


class Tickets:
    def __init__(self, seconds: float, slots: Slots, counters: ServerCounters) -> None:
        self._seconds, self._slots, self._counters = seconds, slots, counters
        self._open: dict[str, _OpenTicket] = {}
        """By value, oldest first."""

    def is_open(self, value: str | None) -> bool:
        """Whether this ticket was issued, and neither used nor expired."""
        return value in self._open

    @property
    def waiting(self) -> int:
        """Open tickets without a slot."""
        return sum(ticket.gpu_id is None for ticket in self._open.values())

    def waiting_of(self, network: str) -> int:
        return sum(ticket.gpu_id is None for ticket in self._open.values() if ticket.network == network)

    def holding_of(self, network: str) -> int:
        return sum(ticket.gpu_id is not None for ticket in self._open.values() if ticket.network == network)

    def issue(self, network: str, *, vouched: bool) -> Ticket:
        """Open a ticket, with a slot if one can be reserved.

        Raises:
            AdmissionRefused: too many are open.
        """
        if len(self._open) >= _TICKETS_PER_SLOT * self._slots.total:
            raise no_capacity()
        value = secrets.token_urlsafe(16)
        timer = asyncio.get_running_loop().call_later(self._seconds, self._expire, value)
        self._open[value] = ticket = _OpenTicket(network, timer, vouched)
        self._counters.tickets_issued += 1
        self.assign_slots()
        return Ticket(value, ticket.gpu_id, time.time() + self._seconds, self._counters.tickets_issued)

    def redeem(self, value: str | None, owner: str) -> int | None:
        """Use a ticket, and hand its slot to `owner`. Returns the GPU; None where it held no slot, or was not open."""
        if value is None or self._remove(value) is None:
            return None
        self._counters.tickets_used += 1
        return self._slots.rename(_owner(value), owner)

    def discard(self, value: str | None) -> None:
        """Use a ticket whose slot is not needed."""
        if value is not None and self._remove(value) is not None:
            self._counters.tickets_used += 1
            self._free(value)

    def gpu_failed(self, gpu_id: int) -> None:
        """Tickets with a slot of this GPU wait for another."""
        for value, ticket in self._open.items():
            if ticket.gpu_id == gpu_id:
                ticket.gpu_id = None
                self._slots.release(_owner(value))
        self.assign_slots()

    def assign_slots(self) -> None:
        """Reserve slots for tickets that wait, oldest first, within the bounds of the module."""
        half = max(1, self._slots.total // 2)
        held = Counter(ticket.network for ticket in self._open.values() if ticket.gpu_id is not None)
        unvouched = sum(ticket.gpu_id is not None and not ticket.vouched for ticket in self._open.values())
        for value, ticket in self._open.items():
            if ticket.gpu_id is not None or held[ticket.network] >= (half if ticket.vouched else 1):
                continue
            if not ticket.vouched and unvouched >= half:
                continue
            ticket.gpu_id = self._slots.reserve(_owner(value))
            if ticket.gpu_id is None:
                return
            held[ticket.network] += 1
            unvouched += not ticket.vouched

    def _expire(self, value: str) -> None:
        if self._remove(value) is not None:
            self._counters.tickets_abandoned += 1
            self._free(value)

    def _remove(self, value: str) -> _OpenTicket | None:
        ticket = self._open.pop(value, None)
        if ticket is not None:
            ticket.timer.cancel()
        return ticket

    def _free(self, value: str) -> None:
        self._slots.release(_owner(value))
        self.assign_slots()


def _owner(value: str) -> str:
    """Who holds a ticket's slot, as `Slots` names it."""
    return f"ticket:{value}"
