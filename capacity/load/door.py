"""How a stream gets in: which address, how to connect there, and what it means when that fails."""

from typing import NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from capacity.clients import Client
from capacity.load.ending import Ending
from capacity.load.orders import LevelOrder
from capacity.load.two_step import NoRoomError, handed_out
from whisper_ops import trust

SHUT = (OSError, InvalidHandshake, InvalidURI, WebSocketException)
"""What `address` and `connecting` raise when a stream does not get in."""


class Address(NamedTuple):
    """Where one stream connects."""

    url: str
    headers: dict[str, str]
    replica: str | None
    """Host and port that `/connect` handed out; None without it."""


async def address(level: LevelOrder, client: Client) -> Address:
    """Where to connect, asked for anew by each stream where there is a `/connect`."""
    headers = {"Authorization": f"Bearer {level.token}"} if level.token else {}
    url, replica = level.url, None
    if level.two_step:
        url = await handed_out(url, headers, level.setup_seconds)
        replica = urlsplit(url).netloc
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode(client.query())]))
    return Address(urlunsplit(parts._replace(query=query)), headers, replica)


def connecting(to: Address, seconds: float) -> connect:
    """The connection, as an async context manager; it may take so many seconds to open."""
    return connect(
        to.url,
        ssl=trust.context_for(to.url),
        additional_headers=to.headers,
        compression=None,  # sound does not compress, and it would be the generator's time
        max_size=None,
        ping_interval=None,  # the stream itself shows whether it lives
        proxy=None,
        open_timeout=seconds,
        close_timeout=2,
    )


def shut(error: Exception, seconds: float) -> Ending:
    """What it means that a stream did not get in, given so many seconds for it."""
    match error:
        case InvalidStatus():
            code = error.response.status_code
            return Ending("refused" if code in {429, 503} else "failed", f"HTTP {code} instead of a WebSocket")
        case NoRoomError():
            return Ending("refused", str(error))
        case TimeoutError():
            return Ending("failed", f"no connection in {seconds:g} s")
    return Ending("failed", trust.untrusted("the server", error) or f"cannot connect: {error}")
