"""Which streams are admitted: connections, and tickets for those that are about to come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.connections.client_addresses import client_network
from server.sessions.counters import ServerCounters
from server.sessions.refusals import AdmissionRefused, log_refusal, no_capacity
from server.sessions.slots import Slots
from server.sessions.tickets import Ticket, Tickets
from server.settings import Settings


class Admission:
    """Everything here is synchronous, so every decision is atomic.

    A connection with a ticket that holds no slot, or is not open any more, is admitted as one without a ticket.
    """

    def __init__(
        self, settings: Settings, slots: Slots, counters: ServerCounters, closed: Callable[[], AdmissionRefused | None]
    ) -> None:
        self.tickets = Tickets(settings.ticket_seconds, slots, counters)
        self._settings, self._slots, self._counters = settings, slots, counters
        self._closed = closed
        """Why no stream is admitted now, whichever client asks; None: one may be."""
        self._networks: dict[str, str] = {}
        """Of the connections that hold a slot."""

    def admit(self, connection_id: str, address: str, ticket: str | None = None) -> int:
        """Reserve a slot for a connection, the one of its ticket where that holds one. Returns the GPU.

        Raises:
            AdmissionRefused: there is none, or the server takes no streams now.
        """
        with self._counted(f"Connection {connection_id}"):
            gpu_id = self._admit(connection_id, client_network(address), ticket)
        self._counters.accepted += 1
        return gpu_id

    def _admit(self, connection_id: str, network: str, ticket: str | None) -> int:
        refusal = self._closed()
        draining = refusal is not None and refusal.code == "draining"
        gpu_id = None if draining else self.tickets.redeem(ticket, connection_id)
        if gpu_id is None:
            if refusal is not None:
                raise refusal
            self._check_share(network)
            gpu_id = self._slots.reserve(connection_id)
        if gpu_id is None:
            raise no_capacity()
        self._networks[connection_id] = network
        self.tickets.assign_slots()
        return gpu_id

    def release(self, connection_id: str) -> int | None:
        """Free what a connection holds. Returns the GPU; None where it holds nothing."""
        self._networks.pop(connection_id, None)
        gpu_id = self._slots.release(connection_id)
        self.tickets.assign_slots()
        return gpu_id

    def ticket(self, address: str) -> Ticket:
        """A ticket for a client that will connect within seconds.

        Raises:
            AdmissionRefused: a connection would not be admitted either.
        """
        with self._counted("/connect"):
            return self._ticket(client_network(address), vouched=False)

    def ticket_for(self, address: str) -> Ticket:
        """The same for the client of a broker, which counts refusals itself: it asks the next server first.

        Raises:
            AdmissionRefused: a connection would not be admitted, or would take what is promised to others.
        """
        return self._ticket(client_network(address), vouched=True)

    def check(self, address: str) -> None:
        """Whether a client that came now would be admitted; nothing is reserved.

        Raises:
            AdmissionRefused: it would not.
        """
        with self._counted("/connect"):
            self._check(client_network(address), vouched=False)

    def _ticket(self, network: str, *, vouched: bool) -> Ticket:
        self._check(network, vouched=vouched)
        return self.tickets.issue(network, vouched=vouched)

    def _check(self, network: str, *, vouched: bool) -> None:
        if (refusal := self._closed()) is not None:
            raise refusal
        waiting = self.tickets.waiting_of(network)
        self._check_share(network, waiting)
        # Nobody is promised more than there is room for. What others wait for counts for a broker's client only, who
        # may find room at the next server.
        if self._slots.free <= (self.tickets.waiting if vouched else waiting):
            raise no_capacity()

    def _check_share(self, network: str, waiting: int = 0) -> None:
        cap = self._settings.connections_per_address
        held = sum(one == network for one in self._networks.values()) + self.tickets.holding_of(network)
        if cap and held + waiting >= cap:
            raise AdmissionRefused("too_many_connections", f"At most {cap} connections from one address")

    @contextmanager
    def _counted(self, client: str) -> Iterator[None]:
        """Count and log a refusal."""
        try:
            yield
        except AdmissionRefused as refusal:
            self._counters.rejected[refusal.code] += 1
            log_refusal(client, refusal)
            raise
