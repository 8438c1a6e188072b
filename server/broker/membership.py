"""Sources of a fleet's members: a list of addresses, and DNS names that are looked up every ten seconds.

Others: Kubernetes (`server.broker.endpoint_slices`), Ray (`server.cluster.ray_membership`).
"""

import asyncio
import logging
import socket
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from server.broker.broker_settings import NamedMember

log = logging.getLogger("whisper_ops.broker")

MOST_MEMBERS = 1000
EVERY_SECONDS = 10.0
"""Between two calls of a source that cannot wait for a change."""


class MemberAddress(NamedTuple):
    name: str
    url: str
    sni: str | None = None
    """The name in its certificate, where `url` has an IP address."""
    is_leaving: bool = False
    """Whether it is being removed: its streams may end there, and it gets no new ones."""


class Membership(Protocol):
    async def find(self) -> list[MemberAddress]:
        """The members now, in a stable order.

        Raises:
            OSError: unknown at the moment; the members known so far stay.
        """

    async def wait_for_change(self) -> None:
        """Return when `find` may have another answer."""
        await asyncio.sleep(EVERY_SECONDS)

    async def close(self) -> None:
        """Release its connections."""
        return


class ListedMembers(Membership):
    """Addresses and DNS names from the command line."""

    def __init__(self, named: Iterable[NamedMember]) -> None:
        self._resolved = {one: [] if one.is_dns else [MemberAddress(one.name, one.url)] for one in named}
        """The addresses of each, from its newest successful look-up."""
        self._unresolved: set[NamedMember] = set()

    async def find(self) -> list[MemberAddress]:
        """A name that cannot be looked up keeps its addresses, and delays no other."""
        names = [one for one in self._resolved if one.is_dns]
        answers = await asyncio.gather(*map(_resolve, names), return_exceptions=True)
        for one, addresses in zip(names, answers, strict=True):
            if isinstance(addresses, OSError):
                if one not in self._unresolved:
                    log.warning("Members: %s; those known so far stay", addresses)
                self._unresolved.add(one)
            elif isinstance(addresses, BaseException):
                raise addresses
            else:
                self._resolved[one] = addresses
                self._unresolved.discard(one)
        found: dict[str, MemberAddress] = {}
        for address in chain.from_iterable(self._resolved.values()):
            found.setdefault(address.url, address)
        if len(found) > MOST_MEMBERS:
            raise OSError(f"the names lead to {len(found):,} members; a broker has at most {MOST_MEMBERS:,}")
        return list(found.values())


async def _resolve(named: NamedMember) -> list[MemberAddress]:
    parts = urlsplit(named.url)
    host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"the host {host} is not known") from error
    addresses = []
    for address in sorted({str(address[0]) for *_, address in answers}):
        at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        addresses.append(
            MemberAddress(at, urlunsplit((parts.scheme, at, "", "", "")), host if parts.scheme == "https" else None)
        )
    return addresses
