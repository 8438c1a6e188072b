"""Ray's named actors as the source of a broker's members: each of them says where its server is."""

import asyncio
from typing import Protocol

from server.broker.membership import MemberAddress, Membership
from server.cluster.worker_spec import Description

_EVERY_SECONDS = 2.0
"""A worker that was started takes streams as soon as it is known."""


class ActorDirectory(Protocol):
    """Who can be asked for the workers."""

    def workers(self) -> dict[str, Description | None]:
        """By name; None: it does not answer now."""


class RayMembers(Membership):
    """See the module. A worker that does not answer stays where it was: its server may well be there."""

    def __init__(self, cluster: ActorDirectory) -> None:
        self._cluster = cluster
        self._known: dict[str, MemberAddress] = {}

    async def find(self) -> list[MemberAddress]:
        """See `server.broker.membership.Membership`."""
        workers = await asyncio.to_thread(self._cluster.workers)
        places = {
            name: MemberAddress(name, said.url) for name, said in workers.items() if said is not None and said.url
        }
        self._known = {name: place for name, place in {**self._known, **places}.items() if name in workers}
        # Two may say the same address for a moment, when one was restarted on the other's machine.
        by_url = {place.url: place for place in self._known.values()}
        return sorted(by_url.values())

    async def wait_for_change(self) -> None:
        """See `Membership`."""
        await asyncio.sleep(_EVERY_SECONDS)
