"""The fleet: its members, read again and again, and the choice of the one that a client is sent to.

The members own their slots: a broker asks one to reserve, and a refusal costs another try, never a stream too many. So
any number of brokers may run beside each other, none of them keeps what it could not ask for again, and one that dies
takes nothing with it.
"""

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable

from server.broker.broker_settings import BrokerSettings
from server.broker.fleet_totals import FleetTotals
from server.broker.member import FleetMember, MemberFullError
from server.broker.member_readings import UnreadableMemberError
from server.broker.membership import MemberAddress, Membership
from server.sessions.clock import now
from whisper_ops import wire
from whisper_ops.histogram import LatencyHistogram

log = logging.getLogger("whisper_ops.broker")

CONNECT_SECONDS = 10.0
"""For the whole of one client's question, however many members are asked."""
_FRESH_SECONDS = 0.25
"""Before a client is refused every member is read again, unless all were so lately."""
_SPACING_SECONDS = 0.05
"""From one such reading to the next, and from one to the next for those who read the fleet."""
_REFRESH_SECONDS = 1.0
"""What is not read by then is as it was."""
_RETRY_AFTER_SECONDS = 5.0
_UNDECIDED_SECONDS = 0.02
"""Between looks at members that others are being answered by."""


class FleetFull(Exception):  # noqa: N818  # it is an answer, not an error
    """No member takes a stream now."""

    def __init__(self, code: str, message: str, retry_after_s: float = _RETRY_AFTER_SECONDS) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_s = code, message, retry_after_s


class Fleet:
    """See the module. `run` keeps the members known and read."""

    def __init__(
        self,
        settings: BrokerSettings,
        membership: Membership,
        make_member: Callable[[MemberAddress, BrokerSettings, str], FleetMember] = FleetMember,
    ) -> None:
        self.settings = settings
        self.broker_id = secrets.token_hex(6)
        self.started_at = time.time()
        self.members: dict[str, FleetMember] = {}
        """By address, in the order of their source."""
        self.totals = FleetTotals()
        self.draining = False
        self.membership_error: str | None = None
        self.handed_out = self.retries = 0
        self.refused: Counter[str] = Counter()
        self.seconds = LatencyHistogram()
        """How long clients waited for their address."""
        self._membership, self._make_member = membership, make_member
        self._polling: dict[str, asyncio.Task[None]] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = self._began_at = -float("inf")

    # --- knowing the members ------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self.discover()
                await self._membership.changed()
        finally:
            for task in self._polling.values():
                task.cancel()
            await asyncio.gather(*self._polling.values(), return_exceptions=True)
            await asyncio.gather(*(member.close() for member in self.members.values()), self._membership.close())

    async def discover(self) -> None:
        """Ask who the members are; while that cannot be told, those known so far stay."""
        try:
            places = {place.url: place for place in await self._membership.find()}
        except OSError as error:
            if self.membership_error is None:
                log.warning("Members: %s; those known so far stay", error)
            self.membership_error = str(error)
            return
        self.membership_error = None
        for url in [url for url in self.members if url not in places]:
            await self._leave(url)
        new = [place for url, place in places.items() if url not in self.members]
        for place in new:
            self.members[place.url] = self._make_member(place, self.settings, self.broker_id)
            log.info("Member %s: known", place.name)
        self.members = {url: self.members[url] for url in places}
        for url, place in places.items():
            self.members[url].leaving = place.leaving
        # All at once, before any is numbered by what it says.
        await asyncio.gather(*(self._read(self.members[place.url]) for place in new))
        for place in new:
            self._polling[place.url] = asyncio.create_task(self._poll_on(self.members[place.url]))

    async def _leave(self, url: str) -> None:
        member = self.members.pop(url)
        log.info("Member %s: gone from the list", member.name)
        if (task := self._polling.pop(url, None)) is not None:
            task.cancel()
        self.totals.leave(url)
        await member.close()

    async def _poll_on(self, member: FleetMember) -> None:
        interval = self.settings.interval_seconds
        while True:
            # Members are not all asked at the same moment.
            await asyncio.sleep(interval * random.uniform(0.9, 1.1))  # noqa: S311  # no secret
            try:
                await self._read(member)
            except Exception:
                log.exception("Member %s: reading it failed", member.name)

    async def _read(self, member: FleetMember) -> None:
        before = member.state
        said = await member.poll()
        if said is not None:
            self.totals.add(member.place.url, said)
            self._mark_twins()
        if member.state != before:
            log.info("Member %s: %s%s", member.name, member.state, f": {member.error}" if member.error else "")

    def _mark_twins(self) -> None:
        """A server that two names lead to has its slots once."""
        first: dict[str, FleetMember] = {}
        for member in self.members.values():
            known = member.said.server_id if member.said is not None and member.error is None else None
            other = first.setdefault(known, member) if known is not None else member
            member.twin = None if other is member else other.name

    async def refresh(self, lately: float = 0.0) -> None:
        """Read every member anew, unless that was done `lately` seconds ago; who comes before it begins shares it."""
        if now() - self._refreshed_at < lately:
            return
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._read_all())
        await asyncio.shield(self._refreshing)

    async def _read_all(self) -> None:
        await asyncio.sleep(max(0.0, self._began_at + _SPACING_SECONDS - now()))
        self._refreshing, self._began_at = None, now()
        began = self._began_at
        reading = {asyncio.create_task(self._read(one)): one.state != "silent" for one in self.counted()}
        # Those that were silent are asked too, and waited for only where there are no others.
        waited = {task for task, answers in reading.items() if answers} or set(reading)
        if waited:
            await asyncio.wait(waited, timeout=_REFRESH_SECONDS)
        self._refreshed_at = began

    def counted(self) -> list[FleetMember]:
        """The members, each server once."""
        return [member for member in self.members.values() if member.twin is None]

    # --- sending clients ----------------------------------------------------------------------------

    async def connect(self, address: str) -> tuple[FleetMember, wire.Connect]:
        """A slot for the client at `address`, at the least loaded member that gives one.

        Raises:
            FleetFull: no member gave one.
        """
        began = now()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await self._find(address)
        except (FleetFull, TimeoutError) as refusal:
            full = refusal if isinstance(refusal, FleetFull) else FleetFull("no_answer", "No member answered in time")
            self.refused[full.code] += 1
            log.info("/connect: refused, %s: %s", full.code, full.message)
            raise full from None
        self.handed_out += 1
        self.seconds.observe(now() - began)
        return found

    async def _find(self, address: str) -> tuple[FleetMember, wire.Connect]:
        if self.draining:
            raise FleetFull("draining", "This broker is draining; ask another one")
        found = await self._try_all(address)
        if found is None:
            # What is known may be a second old: a slot that was freed since must not be overlooked.
            await self.refresh(_FRESH_SECONDS)
            found = await self._try_all(address)
        while found is None and any(member.is_undecided for member in self.members.values()):
            await asyncio.sleep(_UNDECIDED_SECONDS)
            found = await self._try_all(address)
        if found is None:
            raise self._why_not()
        return found

    async def _try_all(self, address: str) -> tuple[FleetMember, wire.Connect] | None:
        tried: set[FleetMember] = set()
        while (member := self._next(tried)) is not None:
            try:
                return member, await member.reserve(address)
            except MemberFullError:
                self.retries += 1
            except UnreadableMemberError as error:
                self.retries += 1
                log.warning("Member %s: %s", member.name, error)
            tried.add(member)
        return None

    def _next(self, tried: set[FleetMember]) -> FleetMember | None:
        """The least loaded of those that have room: those that are ready first, and last those that lately refused.

        The one that is to go next gets what no other has room for.
        """
        room = [member for member in self.members.values() if member not in tried and member.free > 0]
        return min(room, key=_rank, default=None)

    def _why_not(self) -> FleetFull:
        states = {member.state for member in self.members.values()}
        if not states or states == {"silent"}:
            return FleetFull("no_answer", "No member of the fleet answers")
        if states <= {"silent", "draining"}:
            return FleetFull("draining", "Every member of the fleet is draining")
        return FleetFull("no_capacity", "No GPU resources available")

    @property
    def is_ready(self) -> bool:
        """Whether clients can be sent anywhere; a full fleet is ready."""
        return not self.draining and any(member.state == "live" for member in self.members.values())

    def named(self, name: str) -> FleetMember | None:
        """A member by its name, its address or its server's own name."""
        for url, member in self.members.items():
            if name in (member.name, url, member.said.server_id if member.said else None):
                return member
        return None


def _rank(member: FleetMember) -> tuple[bool, bool, bool, float, int, float]:
    # Of equals any: several brokers with the same picture should not all choose the same one.
    lot = random.random()  # noqa: S311  # spreads load only
    return member.rests, member.goes_next, member.state == "starting", member.load, -member.free, lot
