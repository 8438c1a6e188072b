"""A DNS name behind which many replicas are: each address is a server of its own, found again every half minute."""

import asyncio
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from dashboard.polling.server_list import ServerEntry
from whisper_ops.snapshot_client.source import Source, SourceError

MAX_REPLICAS = 1000


class DnsName:
    """The replicas of one server; `make_source` makes what polls the one at an address."""

    def __init__(self, server: ServerEntry, make_source: Callable[[str], Source]) -> None:
        self.name = server.label
        self._host = urlsplit(server.url).hostname or ""
        self._make_source = make_source

    async def find(self) -> dict[str, Callable[[], Source]]:
        """How to make the source of each address there is now.

        Raises:
            SourceError: the name could not be resolved.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise SourceError(f"unknown host {self._host}") from error
        addresses = sorted({str(address[0]) for *_, address in found})
        if len(addresses) > MAX_REPLICAS:
            raise SourceError(f"{self._host} has {len(addresses):,} addresses; at most {MAX_REPLICAS:,} are polled")
        return {address: lambda address=address: self._make_source(address) for address in addresses}  # type: ignore[misc]  # the default binds this address
