"""Where the members of a fleet are known from: a list, or DNS names, looked up again and again.

A source says who the members are now, and when to ask again. `server.broker.endpoint_slices` is another one.
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
"""How often a source is asked that does not say when something changed."""


class MemberAddress(NamedTuple):
    """A member and how it is reached."""

    name: str
    url: str
    sni: str | None = None
    """The name that its certificate bears, where the address is a number."""
    leaving: bool = False
    """Whether its source takes it away: what it has may end there, and nothing new comes."""


class Membership(Protocol):
    """A source of members."""

    async def find(self) -> list[MemberAddress]:
        """Who the members are now, in an order that stays.

        Raises:
            OSError: it cannot be told at the moment; those known so far stay.
        """

    async def changed(self) -> None:
        """Wait until it is worth asking again."""
        await asyncio.sleep(EVERY_SECONDS)

    async def close(self) -> None:
        """Nobody asks any more."""
        return


class ListedMembers(Membership):
    """Addresses and DNS names from the command line."""

    def __init__(self, named: Iterable[NamedMember]) -> None:
        self._behind = {one: [] if one.is_dns else [MemberAddress(one.name, one.url)] for one in named}
        """What each of them led to when it was looked up last."""
        self._unknown: set[NamedMember] = set()

    async def find(self) -> list[MemberAddress]:
        """See `Membership`. A name that cannot be looked up leads where it led before, and holds up no other."""
        names = [one for one in self._behind if one.is_dns]
        for one, places in zip(names, await asyncio.gather(*map(_behind, names), return_exceptions=True), strict=True):
            if isinstance(places, OSError):
                if one not in self._unknown:
                    log.warning("Members: %s; those known so far stay", places)
                self._unknown.add(one)
            elif isinstance(places, BaseException):
                raise places
            else:
                self._behind[one] = places
                self._unknown.discard(one)
        found: dict[str, MemberAddress] = {}
        for place in chain.from_iterable(self._behind.values()):
            found.setdefault(place.url, place)
        if len(found) > MOST_MEMBERS:
            raise OSError(f"the names lead to {len(found):,} members; a broker has at most {MOST_MEMBERS:,}")
        return list(found.values())


async def _behind(named: NamedMember) -> list[MemberAddress]:
    parts = urlsplit(named.url)
    host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OSError(f"the host {host} is not known") from error
    places = []
    for address in sorted({str(address[0]) for *_, address in answers}):
        at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        places.append(
            MemberAddress(at, urlunsplit((parts.scheme, at, "", "", "")), host if parts.scheme == "https" else None)
        )
    return places
