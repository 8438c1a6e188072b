"""One member of a fleet: its newest snapshot, the tickets it issued for us since, and how it is asked."""

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
"""A header of every request of a broker, so that no broker becomes a member of another."""
AT_ONCE = 8
"""Requests for slots at one member at once; more would only wait there."""
_CONNECTIONS = AT_ONCE + 4
"""The others are for snapshots and admin calls."""
_INLINE_BYTES = 32 << 10
"""Larger snapshots are decoded in a thread."""
_MAX_BACKOFF_SECONDS = 5.0
_REFUSES_TO_NAME_CLIENTS = {
    httpx.codes.UNAUTHORIZED,
    httpx.codes.FORBIDDEN,
    httpx.codes.NOT_FOUND,
    httpx.codes.METHOD_NOT_ALLOWED,
}


class MemberFullError(Exception):
    """A member refused a stream."""


class _IssuedTicket(NamedTuple):
    """A slot that a member reserved for us."""

    at: float
    server_id: str | None
    number: int | None
    """The server's count of tickets with this one; None: an older server, which does not say."""

    def is_unreported(self, server_id: str | None, issued: int, asked_at: float) -> bool:
        """Whether a snapshot of that server, with so many tickets issued, does not count it yet."""
        if self.server_id != server_id:
            return False
        return self.number > issued if self.number is not None else self.at >= asked_at


class FleetMember:
    """Everything known here can be asked for again: a broker that starts anew loses nothing."""

    def __init__(
        self,
        address: MemberAddress,
        settings: BrokerSettings,
        broker_id: str,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.address, self.name = address, address.name
        parts = urlsplit(address.url)
        self._netloc, self._host = parts.netloc, parts.hostname or ""
        self.snapshot: wire.ServerSnapshot | None = None
        """The newest one; it is up to date only while `error` is None."""
        self.error: str | None = "was not asked yet"
        self.duplicate_of: str | None = None
        """The name of another member that leads to the same server."""
        self.snapshot_at = -float("inf")
        self.is_leaving = address.is_leaving
        self.is_next_to_delete = False
        """Whether the fleet can spare it, and shall lose it before any other."""
        self._settings = settings
        self._unreported: list[_IssuedTicket] = []
        """Those that the newest snapshot does not count."""
        self._pending = 0
        self._concurrency = asyncio.Semaphore(AT_ONCE)
        self._backoff_until = self._refusals = 0.0
        self._extensions = {"sni_hostname": address.sni} if address.sni else {}
        self._names_clients = True
        """Whether it lets us say for whom we ask."""
        self._http = httpx.AsyncClient(
            base_url=address.url,
            headers={"Accept-Encoding": ACCEPTED, BROKER_HEADER: broker_id},
            timeout=None,  # noqa: S113  # each call has a deadline for the whole of it
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            trust_env=False,
            transport=transport,
            verify=tls_trust.client_context(),
        )

    # --- its state ----------------------------------------------------------------------------------

    async def poll(self) -> wire.ServerSnapshot | None:
        """Fetch its snapshot; None where there is none, with the reason in `error`."""
        began = now()
        try:
            answer = await self._ask("GET", "/snapshot", MAX_JSON_BYTES, self._settings.deadline_seconds)
            _check_status(answer, "/snapshot")
            large = len(answer.body) > _INLINE_BYTES
            snapshot = await asyncio.to_thread(read_snapshot, answer.body) if large else read_snapshot(answer.body)
        except (httpx.HTTPError, UnreadableMemberError) as error:
            self.error = why_unreachable(error, self._netloc, self._host) or str(error) or type(error).__name__
            return None
        self.snapshot, self.snapshot_at, self.error = snapshot, now(), None
        issued = snapshot.performance.tickets_issued_total
        self._unreported = [one for one in self._unreported if one.is_unreported(snapshot.server_id, issued, began)]
        return snapshot

    @property
    def state(self) -> wire.MemberState:
        if self.error is not None or self.snapshot is None:
            return "silent"
        status = self.snapshot.health.status
        if self.is_leaving:
            return "draining"
        return status if status in ("starting", "draining") else "live"

    @property
    def free(self) -> int:
        """Slots that it can still reserve, as far as is known."""
        return max(0, self._reported_free - len(self._unreported) - self._pending)

    @property
    def _reported_free(self) -> int:
        if self.snapshot is None or self.state in ("silent", "draining") or self.duplicate_of is not None:
            return 0
        return self.snapshot.health.capacity.available_slots - self.snapshot.performance.tickets_waiting

    @property
    def may_have_room(self) -> bool:
        """Whether only requests that it has not answered yet take its last free slots."""
        return self._pending > 0 and self.free == 0 and self._reported_free > len(self._unreported)

    @property
    def load(self) -> float:
        """The share of its planned slots that is taken, 0 to 1."""
        total = self.snapshot.health.capacity.total_slots if self.snapshot is not None else 0
        return 1 - self.free / total if total else 1.0

    @property
    def backs_off(self) -> bool:
        """Whether it lately refused although it reported a free slot: others are asked first."""
        return now() < self._backoff_until

    # --- requests -----------------------------------------------------------------------------------

    async def reserve(self, client_address: str) -> wire.Connect:
        """Have it hold a slot for a client; the answer to give that client.

        Raises:
            MemberFullError: it refused.
            UnreadableMemberError: no usable answer came; it counts as silent until its next snapshot.
        """
        self._pending += 1
        try:
            # The deadline begins after this wait.
            async with self._concurrency:
                connect = await self._reserve(client_address)
        except MemberFullError:
            self._back_off()
            raise
        except httpx.HTTPError as error:
            self._back_off()
            why = why_unreachable(error, self._netloc, self._host) or str(error) or type(error).__name__
            self.error = f"did not reserve a slot: {why}"
            raise UnreadableMemberError(self.error) from error
        except UnreadableMemberError as error:
            self._back_off()
            self.error = str(error)
            raise
        finally:
            self._pending -= 1
        self._refusals = 0
        newest = self.snapshot
        ticket = _IssuedTicket(now(), newest.server_id if newest else None, connect.tickets_issued_total)
        issued = newest.performance.tickets_issued_total if newest else 0
        if newest is None or ticket.is_unreported(newest.server_id, issued, self.snapshot_at):
            self._unreported.append(ticket)
        return connect

    async def _reserve(self, client_address: str) -> wire.Connect:
        if self.error is not None:  # it became silent during the wait
            raise UnreadableMemberError(self.error)
        answer = await self._request_slot(client_address)
        if answer.status == httpx.codes.SERVICE_UNAVAILABLE:
            raise MemberFullError
        _check_status(answer, "/connect")
        return read_connect(answer.body)

    async def _request_slot(self, client_address: str) -> HttpAnswer:
        if self._names_clients:
            body = {"address": client_address}
            answer = await self._ask(
                "POST", "/connect", MAX_REPLY_BYTES, self._settings.deadline_seconds, admin=True, json=body
            )
            if answer.status not in _REFUSES_TO_NAME_CLIENTS:
                return answer
            self._names_clients = False
            log.warning(
                "Member %s: refuses clients' addresses (HTTP %d), so its limits per address count all clients as one; "
                "give server and broker the same admin token",
                self.name,
                answer.status,
            )
        return await self._ask("GET", "/connect", MAX_REPLY_BYTES, self._settings.deadline_seconds)

    def _back_off(self) -> None:
        self._refusals += 1
        self._backoff_until = now() + min(_MAX_BACKOFF_SECONDS, 0.05 * 2.0 ** min(self._refusals, 10))

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
        await self._http.aclose()

    def as_wire(self) -> wire.Member:
        snapshot = self.snapshot
        current = snapshot if self.state != "silent" else None
        duplicate = f"is the same server as {self.duplicate_of}" if self.duplicate_of else None
        return wire.Member(
            name=self.name,
            state=self.state,
            server_id=snapshot.server_id if snapshot else None,
            slots=snapshot.health.capacity.total_slots if snapshot else None,
            slots_used=snapshot.health.capacity.used_slots if snapshot else None,
            slots_free=self.free if self.state != "silent" else None,
            streams_active=current.performance.active_connections if current else None,
            gpus=snapshot.gpu_status.total_gpus if snapshot else None,
            gpus_failed=sum(gpu.state == "failed" for gpu in current.gpu_status.gpus) if current else None,
            status=current.health.status if current else None,
            lag_p95_s=current.performance.latency.lag_p95_s if current else None,
            error=self.error or duplicate,
            age_seconds=round(now() - self.snapshot_at, 3) if snapshot else None,
        )


def _check_status(answer: HttpAnswer, path: str) -> None:
    if answer.status == httpx.codes.UNAUTHORIZED:
        raise UnreadableMemberError(f"needs another token for {path} (--member-token-file)")
    if answer.status != httpx.codes.OK:
        raise UnreadableMemberError(f"answered HTTP {answer.status} to {path}")
