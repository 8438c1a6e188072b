"""The fleet: its members, polled every second, and the choice of the one that a client is sent to.

The members own their slots: a broker asks one to reserve, and a refusal costs another request, never a stream too many.
So any number of brokers may run in parallel; each can rebuild its state by asking again, and one that dies costs no
stream.
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
"""For one client's request, however many members are asked."""
_FRESH_SECONDS = 0.25
"""Before a client is refused every member is polled again, unless that was done so lately."""
_SPACING_SECONDS = 0.05
"""Between the starts of two polls of all members, whoever asks for them."""
_REFRESH_SECONDS = 1.0
"""A member that has not answered by then stays as it was."""
_RETRY_AFTER_SECONDS = 5.0
_PENDING_SECONDS = 0.02
"""Between two tries while members have unanswered requests."""


class FleetFull(Exception):  # noqa: N818  # it is an answer, not an error
    """No member takes a stream now."""

    def __init__(self, code: str, message: str, retry_after_s: float = _RETRY_AFTER_SECONDS) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_s = code, message, retry_after_s


class Fleet:
    """`run` keeps the list of members and their snapshots up to date."""

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
        self.connect_seconds = LatencyHistogram()
        """From a client's request to its address."""
        self._membership, self._make_member = membership, make_member
        self._polling: dict[str, asyncio.Task[None]] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = self._refresh_began_at = -float("inf")

    # --- polling members ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self.discover()
                await self._membership.wait_for_change()
        finally:
            for task in self._polling.values():
                task.cancel()
            await asyncio.gather(*self._polling.values(), return_exceptions=True)
            await asyncio.gather(*(member.close() for member in self.members.values()), self._membership.close())

    async def discover(self) -> None:
        """Update the list of members; while the source fails, those known so far stay."""
        try:
            addresses = {address.url: address for address in await self._membership.find()}
        except OSError as error:
            if self.membership_error is None:
                log.warning("Members: %s; those known so far stay", error)
            self.membership_error = str(error)
            return
        self.membership_error = None
        for url in [url for url in self.members if url not in addresses]:
            await self._remove(url)
        new = [address for url, address in addresses.items() if url not in self.members]
        for address in new:
            self.members[address.url] = self._make_member(address, self.settings, self.broker_id)
            log.info("Member %s: known", address.name)
        self.members = {url: self.members[url] for url in addresses}
        for url, address in addresses.items():
            self.members[url].is_leaving = address.is_leaving
        # All before the first view: GPUs are numbered in the order of the members.
        await asyncio.gather(*(self._poll(self.members[address.url]) for address in new))
        for address in new:
            self._polling[address.url] = asyncio.create_task(self._poll_forever(self.members[address.url]))

    async def _remove(self, url: str) -> None:
        member = self.members.pop(url)
        log.info("Member %s: gone from the list", member.name)
        if (task := self._polling.pop(url, None)) is not None:
            task.cancel()
        self.totals.leave(url)
        await member.close()

    async def _poll_forever(self, member: FleetMember) -> None:
        interval = self.settings.interval_seconds
        while True:
            # Jitter, so that members are not polled in the same moment.
            await asyncio.sleep(interval * random.uniform(0.9, 1.1))  # noqa: S311  # no secret
            try:
                await self._poll(member)
            except Exception:
                log.exception("Member %s: polling it failed", member.name)

    async def _poll(self, member: FleetMember) -> None:
        before = member.state
        snapshot = await member.poll()
        if snapshot is not None:
            self.totals.add(member.address.url, snapshot)
            self._mark_duplicates()
        if member.state != before:
            log.info("Member %s: %s%s", member.name, member.state, f": {member.error}" if member.error else "")

    def _mark_duplicates(self) -> None:
        """Count a server once, where two members lead to it."""
        first: dict[str, FleetMember] = {}
        for member in self.members.values():
            known = member.snapshot.server_id if member.snapshot is not None and member.error is None else None
            other = first.setdefault(known, member) if known is not None else member
            member.duplicate_of = None if other is member else other.name

    async def refresh(self, lately: float = 0.0) -> None:
        """Poll every member, unless that was done in the last `lately` seconds; calls before it begins share it."""
        if now() - self._refreshed_at < lately:
            return
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._poll_all())
        await asyncio.shield(self._refreshing)

    async def _poll_all(self) -> None:
        await asyncio.sleep(max(0.0, self._refresh_began_at + _SPACING_SECONDS - now()))
        self._refreshing, self._refresh_began_at = None, now()
        began = self._refresh_began_at
        polls = {asyncio.create_task(self._poll(one)): one.state != "silent" for one in self.distinct_members()}
        # Silent members are polled too, and waited for only where all are silent.
        waited = {task for task, answers in polls.items() if answers} or set(polls)
        if waited:
            await asyncio.wait(waited, timeout=_REFRESH_SECONDS)
        self._refreshed_at = began

    def distinct_members(self) -> list[FleetMember]:
        """The members, each server once."""
        return [member for member in self.members.values() if member.duplicate_of is None]

    # --- reserving slots ----------------------------------------------------------------------------

    async def connect(self, client_address: str) -> wire.Connect:
        """Reserve a slot for a client at the least loaded member that grants one.

        Raises:
            FleetFull: no member granted one.
        """
        began = now()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                answer = await self._reserve(client_address)
        except (FleetFull, TimeoutError) as refusal:
            full = refusal if isinstance(refusal, FleetFull) else FleetFull("no_answer", "No member answered in time")
            self.refused[full.code] += 1
            log.info("/connect: refused, %s: %s", full.code, full.message)
            raise full from None
        self.handed_out += 1
        self.connect_seconds.observe(now() - began)
        return answer

    async def _reserve(self, client_address: str) -> wire.Connect:
        if self.draining:
            raise FleetFull("draining", "This broker is draining; ask another one")
        answer = await self._try_members(client_address)
        if answer is None:
            # Snapshots may be a second old: a slot may have been freed since.
            await self.refresh(_FRESH_SECONDS)
            answer = await self._try_members(client_address)
        while answer is None and any(member.may_have_room for member in self.members.values()):
            await asyncio.sleep(_PENDING_SECONDS)
            answer = await self._try_members(client_address)
        if answer is None:
            raise self._refusal()
        return answer

    async def _try_members(self, client_address: str) -> wire.Connect | None:
        tried: set[FleetMember] = set()
        while (member := self._best(tried)) is not None:
            try:
                return await member.reserve(client_address)
            except MemberFullError:
                self.retries += 1
            except UnreadableMemberError as error:
                self.retries += 1
                log.warning("Member %s: %s", member.name, error)
            tried.add(member)
        return None

    def _best(self, tried: set[FleetMember]) -> FleetMember | None:
        """The least loaded of the members with a free slot; `_rank` says which come last whatever their load."""
        room = [member for member in self.members.values() if member not in tried and member.free > 0]
        return min(room, key=_rank, default=None)

    def _refusal(self) -> FleetFull:
        states = {member.state for member in self.members.values()}
        if not states or states == {"silent"}:
            return FleetFull("no_answer", "No member of the fleet answers")
        if states <= {"silent", "draining"}:
            return FleetFull("draining", "Every member of the fleet is draining")
        return FleetFull("no_capacity", "No GPU resources available")

    @property
    def is_ready(self) -> bool:
        """Whether a member takes streams; a full fleet is ready."""
        return not self.draining and any(member.state == "live" for member in self.members.values())

    def find_member(self, name: str) -> FleetMember | None:
        """A member by its name, its address or its server's identity."""
        for url, member in self.members.items():
            if name in (member.name, url, member.snapshot.server_id if member.snapshot else None):
                return member
        return None


def _rank(member: FleetMember) -> tuple[bool, bool, bool, float, int, float]:
    # Equal members at random: several brokers with the same snapshots should not all choose the same one.
    lot = random.random()  # noqa: S311  # spreads load only
    return member.backs_off, member.is_next_to_delete, member.state == "starting", member.load, -member.free, lot
