"""Who gets a slot: a connection, or a ticket of `/connect` for one that is about to come.

A ticket holds a slot for a few seconds. An address holds one such slot at a time, and all tickets together hold half of
the slots at most: whoever asks again and again keeps nobody out. A further ticket waits for its slot until the one
before it was used or ran out; whoever comes with a ticket that holds none is a plain connect. So is whoever comes with
one that is unknown or over. What was promised before a GPU was lost stands, though it be more than half of what is
left.

A broker asks for many clients, and says for whom: its tickets are vouched for. They hold their slots at once, half of
all slots for one client's address, and no more of them are given out than there is room for, whoever they are for.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from server.connections.client_addresses import client_network
from server.sessions.counters import ServerCounters
from server.sessions.slots import Slots
from server.settings import Settings

log = logging.getLogger("whisper_ops.server")

_TICKETS_A_SLOT = 4
"""So many tickets may be out, for each slot there is."""


class AdmissionRefused(Exception):  # noqa: N818  # it is an answer, not an error
    """A stream is not admitted."""

    def __init__(self, code: str, message: str, retry_after_s: float = 5.0) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_s = code, message, retry_after_s


@dataclass(frozen=True)
class Ticket:
    """What a client that is about to connect was given. Times are UTC epoch seconds."""

    value: str
    gpu_id: int | None
    """Where a slot is held for it; None: it waits for one."""
    expires_at: float
    number: int
    """How many were issued, with this one."""


@dataclass
class _OpenTicket:
    """A ticket that nobody came with yet."""

    network: str
    timer: asyncio.TimerHandle
    vouched: bool = False
    gpu_id: int | None = None


class Admission:
    """Slots and who holds them. Everything here is synchronous, so every decision is atomic."""

    def __init__(
        self, settings: Settings, slots: Slots, counters: ServerCounters, closed: Callable[[], AdmissionRefused | None]
    ) -> None:
        self._settings, self._slots, self._counters = settings, slots, counters
        self._closed = closed
        """Why nobody is admitted now, whoever asks; None: somebody may be."""
        self._holders: dict[str, str] = {}
        """Owner of a slot to the party it belongs to."""
        self._tickets: dict[str, _OpenTicket] = {}
        """By value, oldest first."""

    def admit(self, owner: str, address: str, ticket: str | None = None) -> int:
        """Reserve a slot for a connection, the one that its ticket holds where it bears one; returns the GPU.

        Raises:
            AdmissionRefused: there is none, or the server takes no streams now.
        """
        with self._counted(f"Connection {owner}"):
            gpu_id = self._admit(owner, client_network(address), ticket)
        self._counters.accepted += 1
        return gpu_id

    @contextmanager
    def _counted(self, who: str) -> Iterator[None]:
        """Count and log a refusal."""
        try:
            yield
        except AdmissionRefused as refusal:
            self._counters.rejected[refusal.code] += 1
            log_refusal(who, refusal)
            raise

    def _admit(self, owner: str, who: str, ticket: str | None) -> int:
        refusal = self._closed()
        draining = refusal is not None and refusal.code == "draining"
        gpu_id = None if draining else self._take(ticket, owner)
        if gpu_id is None:
            if refusal is not None:
                raise refusal
            self._check_share(who, waiting=0)
            gpu_id = self._slots.reserve(owner)
        if gpu_id is None:
            raise AdmissionRefused("no_capacity", "No GPU resources available")
        self._holders[owner] = who
        self._assign_slots()
        return gpu_id

    def _take(self, ticket: str | None, owner: str) -> int | None:
        """The slot of a ticket, now the connection's; None where it holds none. The ticket is used."""
        if ticket is None or self._remove(ticket) is None:
            return None
        self._counters.tickets_used += 1
        self._holders.pop(_owner(ticket), None)
        return self._slots.rename(_owner(ticket), owner)

    def _check_share(self, who: str, *, waiting: int) -> None:
        cap = self._settings.connections_per_address
        if cap and sum(holder == who for holder in self._holders.values()) + waiting >= cap:
            raise AdmissionRefused("too_many_connections", f"At most {cap} connections from one address")

    def release(self, owner: str) -> int | None:
        """Free what a connection holds and return the GPU it was on; None when it holds nothing."""
        self._holders.pop(owner, None)
        gpu_id = self._slots.release(owner)
        self._assign_slots()
        return gpu_id

    # --- tickets ------------------------------------------------------------------------------------

    def ticket(self, address: str) -> Ticket:
        """A ticket for a client that will connect within seconds.

        Raises:
            AdmissionRefused: a connection would not be admitted either.
        """
        with self._counted("/connect"):
            return self._ticket(client_network(address), vouched=False)

    def ticket_for(self, address: str) -> Ticket:
        """The same for the client of a broker. The broker counts whom it refuses, and asks the next server first.

        Raises:
            AdmissionRefused: a connection would not be admitted, or would take what others were promised.
        """
        return self._ticket(client_network(address), vouched=True)

    def check(self, address: str) -> None:
        """Whether a client that came now would be admitted; nothing is reserved.

        Raises:
            AdmissionRefused: it would not.
        """
        with self._counted("/connect"):
            self._check(client_network(address), vouched=False)

    @property
    def waiting(self) -> int:
        """Tickets that are out and hold no slot yet."""
        return sum(out.gpu_id is None for out in self._tickets.values())

    def _check(self, who: str, *, vouched: bool) -> None:
        if (refusal := self._closed()) is not None:
            raise refusal
        waiting = sum(out.network == who and out.gpu_id is None for out in self._tickets.values())
        self._check_share(who, waiting=waiting)
        # Nobody is promised more than there is room for. What others wait for keeps nobody out, but for a broker's
        # client, who may find room at the next server.
        if self._slots.free <= (self.waiting if vouched else waiting):
            raise AdmissionRefused("no_capacity", "No GPU resources available")

    def _ticket(self, who: str, *, vouched: bool) -> Ticket:
        self._check(who, vouched=vouched)
        if len(self._tickets) >= _TICKETS_A_SLOT * self._slots.total:
            raise AdmissionRefused("no_capacity", "No GPU resources available")
        value, seconds = secrets.token_urlsafe(16), self._settings.ticket_seconds
        timer = asyncio.get_running_loop().call_later(seconds, self._expire, value)
        self._tickets[value] = out = _OpenTicket(who, timer, vouched)
        self._counters.tickets_issued += 1
        self._assign_slots()
        return Ticket(value, out.gpu_id, time.time() + seconds, self._counters.tickets_issued)

    def is_open_ticket(self, ticket: str | None) -> bool:
        """Whether somebody who was allowed to ask was given this ticket, and nobody came with it yet."""
        return ticket in self._tickets

    def use_ticket(self, ticket: str | None) -> None:
        """Whoever had this ticket came, and does not need what it holds."""
        if ticket is not None and self._remove(ticket) is not None:
            self._counters.tickets_used += 1
            self._free(ticket)

    def gpu_failed(self, gpu_id: int) -> None:
        """A GPU takes no streams any more: tickets that hold its slots look for others."""
        for value, out in self._tickets.items():
            if out.gpu_id == gpu_id:
                out.gpu_id = None
                self._holders.pop(_owner(value), None)
                self._slots.release(_owner(value))
        self._assign_slots()

    def _expire(self, value: str) -> None:
        if self._remove(value) is not None:
            self._counters.tickets_abandoned += 1
            self._free(value)

    def _remove(self, value: str) -> _OpenTicket | None:
        out = self._tickets.pop(value, None)
        if out is not None:
            out.timer.cancel()
        return out

    def _free(self, value: str) -> None:
        self._holders.pop(_owner(value), None)
        self._slots.release(_owner(value))
        self._assign_slots()

    def _assign_slots(self) -> None:
        """Give slots to tickets that wait, oldest first."""
        half = max(1, self._slots.total // 2)
        held = Counter(out.network for out in self._tickets.values() if out.gpu_id is not None)
        unvouched = sum(out.gpu_id is not None and not out.vouched for out in self._tickets.values())
        for value, out in self._tickets.items():
            if out.gpu_id is not None or held[out.network] >= (half if out.vouched else 1):
                continue
            if not out.vouched and unvouched >= half:
                continue
            out.gpu_id = self._slots.reserve(_owner(value))
            if out.gpu_id is None:
                return
            self._holders[_owner(value)] = out.network
            held[out.network] += 1
            unvouched += not out.vouched


def log_refusal(who: str, refusal: AdmissionRefused) -> None:
    """Log it in the words that the client hears: they are what people grep for."""
    log.info("%s: refused, %s: %s", who, refusal.code, refusal.message)


def _owner(ticket: str) -> str:
    return f"ticket:{ticket}"
