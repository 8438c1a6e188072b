"""Ray's named actors as a source of members: each reports the address of its server."""

import asyncio
from typing import Protocol

from server.broker.membership import MemberAddress, Membership
from server.cluster.worker_spec import WorkerReport

_EVERY_SECONDS = 2.0
"""Between two calls; a new worker takes streams once it is found."""


class ActorDirectory(Protocol):
    def workers(self) -> dict[str, WorkerReport | None]:
        """By name; None: it does not answer."""


class RayMembers(Membership):
    """A worker that does not answer keeps its address: its server may be running without it."""

    def __init__(self, cluster: ActorDirectory) -> None:
        self._cluster = cluster
        self._known: dict[str, MemberAddress] = {}

    async def find(self) -> list[MemberAddress]:
        reports = await asyncio.to_thread(self._cluster.workers)
        addresses = {
            name: MemberAddress(name, report.url)
            for name, report in reports.items()
            if report is not None and report.url
        }
        self._known = {name: address for name, address in {**self._known, **addresses}.items() if name in reports}
        # Two report one address for a moment when one was restarted on the other's machine.
        by_url = {address.url: address for address in self._known.values()}
        return sorted(by_url.values())

    async def wait_for_change(self) -> None:
        await asyncio.sleep(_EVERY_SECONDS)
