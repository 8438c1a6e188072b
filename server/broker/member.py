"""One member of the fleet: what it last said, what was given out there since, and how to ask it."""

import asyncio
import logging
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from server.broker.broker_settings import BrokerSettings
from server.broker.member_readings import UnreadableMemberError, read_connect, read_snapshot
from server.broker.membership import MemberAddress
from server.sessions.clock import now
from whisper_ops import tls_trust, wire
from whisper_ops.connection_errors import why_unreachable
from whisper_ops.http_answers import ACCEPTED, MAX_JSON_BYTES, MAX_REPLY_BYTES, HttpAnswer, fetch

log = logging.getLogger("whisper_ops.broker")

BROKER_HEADER = "x-whisper-ops-broker"
"""On what a broker asks, so that no broker is a member of another."""
AT_ONCE = 8
"""Slots that are asked for at one member at once; more would only wait there."""
_OTHERS = 4
"""Connections for readings and admin calls."""
_IN_PASSING_BYTES = 32 << 10
"""Snapshots above it are read in a thread."""
_LONGEST_REST_SECONDS = 5.0
_CANNOT_ASK_FOR_OTHERS = {
    httpx.codes.UNAUTHORIZED,
    httpx.codes.FORBIDDEN,
    httpx.codes.NOT_FOUND,
    httpx.codes.METHOD_NOT_ALLOWED,
}


class MemberFullError(Exception):
    """A member refused a stream."""


class _Given(NamedTuple):
    """A slot that was given out at a member."""

    at: float
    server_id: str | None
    number: int | None
    """Of the ticket, as the server counts them; an older one does not say."""

    def is_newer(self, server_id: str | None, issued: int, asked_at: float) -> bool:
        """Whether a reading of that server, with so many tickets issued, does not know of it yet."""
        if self.server_id != server_id:
            return False
        return self.number > issued if self.number is not None else self.at >= asked_at


class FleetMember:
    """See the module. Everything known here can be asked for again: a broker that starts anew loses nothing."""

    def __init__(
        self,
        place: MemberAddress,
        settings: BrokerSettings,
        broker_id: str,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.place, self.name = place, place.name
        parts = urlsplit(place.url)
        self._where, self._host = parts.netloc, parts.hostname or ""
        self.said: wire.ServerSnapshot | None = None
        """The newest answer, which is of now only while `error` is None."""
        self.error: str | None = "was not asked yet"
        self.twin: str | None = None
        """Another member that is the same server."""
        self.said_at = -float("inf")
        self.leaving = place.leaving
        self.goes_next = False
        """Whether the fleet can spare it, and shall lose it before any other."""
        self._settings = settings
        self._given: list[_Given] = []
        """Slots that were given out there and that the newest answer does not know of."""
        self._asking = 0
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._rests_until = self._refusals = 0.0
        self._extensions = {"sni_hostname": place.sni} if place.sni else {}
        self._for_others = True
        """Whether it lets us say for whom we ask."""
        self._http = httpx.AsyncClient(
            base_url=place.url,
            headers={"Accept-Encoding": ACCEPTED, BROKER_HEADER: broker_id},
            timeout=None,  # noqa: S113  # each call has a deadline for the whole of it
            limits=httpx.Limits(max_connections=AT_ONCE + _OTHERS, max_keepalive_connections=AT_ONCE + _OTHERS),
            trust_env=False,
            transport=transport,
            verify=tls_trust.client_context(),
        )

    # --- what it says -------------------------------------------------------------------------------

    async def poll(self) -> wire.ServerSnapshot | None:
        """Ask how it is; the answer, or None where `error` says why there is none."""
        began = now()
        try:
            answer = await self._ask("GET", "/snapshot", MAX_JSON_BYTES, self._settings.deadline_seconds)
            _check_status(answer, "/snapshot")
            large = len(answer.body) > _IN_PASSING_BYTES
            said = await asyncio.to_thread(read_snapshot, answer.body) if large else read_snapshot(answer.body)
        except (httpx.HTTPError, UnreadableMemberError) as error:
            self.error = why_unreachable(error, self._where, self._host) or str(error) or type(error).__name__
            return None
        self.said, self.said_at, self.error = said, now(), None
        issued = said.performance.tickets_issued_total
        self._given = [given for given in self._given if given.is_newer(said.server_id, issued, began)]
        return said

    @property
    def state(self) -> wire.MemberState:
        """In one word."""
        if self.error is not None or self.said is None:
            return "silent"
        status = self.said.health.status
        if self.leaving:
            return "draining"
        return status if status in ("starting", "draining") else "live"

    @property
    def free(self) -> int:
        """Slots that may still be given out there, as far as is known."""
        return max(0, self._said_free - len(self._given) - self._asking)

    @property
    def _said_free(self) -> int:
        if self.said is None or self.state in ("silent", "draining") or self.twin is not None:
            return 0
        return self.said.health.capacity.available_slots - self.said.performance.tickets_waiting

    @property
    def is_undecided(self) -> bool:
        """Whether it may have room once it has answered what it is being asked."""
        return self._asking > 0 and self.free == 0 and self._said_free > len(self._given)

    @property
    def load(self) -> float:
        """The share of its planned slots that is taken, 0 to 1."""
        total = self.said.health.capacity.total_slots if self.said is not None else 0
        return 1 - self.free / total if total else 1.0

    @property
    def rests(self) -> bool:
        """Whether it lately refused what it said it had room for: others are asked first."""
        return now() < self._rests_until

    # --- what it is asked ---------------------------------------------------------------------------

    async def reserve(self, address: str) -> wire.Connect:
        """Have it hold a slot for the client at `address`.

        Raises:
            NoRoomError: it refused.
            UnreadableMemberError: it did not answer, or nothing that could be used; it counts as silent until it does.
        """
        self._asking += 1
        try:
            # What waits here for its turn does not count as the member's time.
            async with self._turns:
                connect = await self._reserved(address)
        except MemberFullError:
            self._refused()
            raise
        except httpx.HTTPError as error:
            self._refused()
            why = why_unreachable(error, self._where, self._host) or str(error) or type(error).__name__
            self.error = f"did not reserve a slot: {why}"
            raise UnreadableMemberError(self.error) from error
        except UnreadableMemberError as error:
            self._refused()
            self.error = str(error)
            raise
        finally:
            self._asking -= 1
        self._refusals = 0
        known = self.said
        given = _Given(now(), known.server_id if known else None, connect.tickets_issued_total)
        if known is None or given.is_newer(known.server_id, known.performance.tickets_issued_total, self.said_at):
            self._given.append(given)
        return connect

    async def _reserved(self, address: str) -> wire.Connect:
        if self.error is not None:  # since we began to wait
            raise UnreadableMemberError(self.error)
        answer = await self._ask_for(address)
        if answer.status == httpx.codes.SERVICE_UNAVAILABLE:
            raise MemberFullError
        _check_status(answer, "/connect")
        return read_connect(answer.body)

    async def _ask_for(self, address: str) -> HttpAnswer:
        if self._for_others:
            body = {"address": address}
            answer = await self._ask(
                "POST", "/connect", MAX_REPLY_BYTES, self._settings.deadline_seconds, admin=True, json=body
            )
            if answer.status not in _CANNOT_ASK_FOR_OTHERS:
                return answer
            self._for_others = False
            log.warning(
                "Member %s: does not let us ask for others (HTTP %d): it counts all clients as one; give server and "
                "broker one admin token",
                self.name,
                answer.status,
            )
        return await self._ask("GET", "/connect", MAX_REPLY_BYTES, self._settings.deadline_seconds)

    def _refused(self) -> None:
        self._refusals += 1
        self._rests_until = now() + min(_LONGEST_REST_SECONDS, 0.05 * 2.0 ** min(self._refusals, 10))

    async def admin(self, method: str, path: str, body: dict[str, Any]) -> HttpAnswer:
        """An admin call.

        Raises:
            httpx.HTTPError: it did not answer.
        """
        return await self._ask(method, path, MAX_REPLY_BYTES, self._settings.deadline_seconds, admin=True, json=body)

    async def _ask(
        self, method: str, path: str, limit: int, seconds: float, *, admin: bool = False, json: object = None
    ) -> HttpAnswer:
        token = (self._settings.member_admin_token if admin else None) or self._settings.member_token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        more: dict[str, Any] = {} if json is None else {"json": json}
        return await fetch(
            self._http, method, path, limit=limit, seconds=seconds, headers=headers, extensions=self._extensions, **more
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    def as_wire(self) -> wire.Member:
        """As others are told of it."""
        said = self.said
        answers = said is not None and self.state != "silent"
        twin = f"is the same server as {self.twin}" if self.twin else None
        return wire.Member(
            name=self.name,
            state=self.state,
            server_id=said.server_id if said else None,
            slots=said.health.capacity.total_slots if said else None,
            slots_used=said.health.capacity.used_slots if said else None,
            slots_free=self.free if self.state != "silent" else None,
            streams_active=said.performance.active_connections if said and answers else None,
            gpus=said.gpu_status.total_gpus if said else None,
            gpus_failed=sum(gpu.state == "failed" for gpu in said.gpu_status.gpus) if said and answers else None,
            status=said.health.status if said and answers else None,
            lag_p95_s=said.performance.latency.lag_p95_s if said and answers else None,
            error=self.error or twin,
            age_seconds=round(now() - self.said_at, 3) if said else None,
        )


def _check_status(answer: HttpAnswer, path: str) -> None:
    if answer.status == httpx.codes.UNAUTHORIZED:
        raise UnreadableMemberError(f"needs another token for {path} (--member-token-file)")
    if answer.status != httpx.codes.OK:
        raise UnreadableMemberError(f"answered HTTP {answer.status} to {path}")
