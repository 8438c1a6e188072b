"""How a stream gets in: which address, how to connect there, and what it means when that fails."""

from typing import NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from capacity.loadgen.messages import LevelOrder
from capacity.loadgen.stream_outcome import StreamOutcome
from capacity.loadgen.two_step_connect import NoTokenError, ServerFullError, handed_out
from capacity.protocols import Client, StreamReady
from whisper_ops import tls_trust, wire

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of one message: WhisperLiveKit sends its whole transcript each time, a day of talk in 1 MB."""

SHUT = (OSError, InvalidHandshake, InvalidURI, WebSocketException)
"""What `address` and `connecting` raise when a stream does not get in."""
TOKEN_KEPT = "the token was not sent"  # noqa: S105  # a sentence
"""Only the host that was named on the command line is trusted with it."""
_UNAUTHORIZED = 401
_LONGEST_NAME = 200
"""Characters of what a server calls itself or a connection."""


class Address(NamedTuple):
    """Where one stream connects."""

    url: str
    headers: dict[str, str]
    replica: str | None
    """Host and port that `/connect` handed out; None without it."""
    remark: str | None = None
    """What may be the reason if it does not let us in."""


async def address(level: LevelOrder, client: Client) -> Address:
    """Where to connect, asked for anew by each stream where there is a `/connect`."""
    headers = {"Authorization": f"Bearer {level.token}"} if level.token else {}
    url, replica, remark = level.url, None, None
    if level.two_step:
        url, is_same_host = await handed_out(url, headers, level.setup_seconds)
        replica = urlsplit(url).netloc
        if headers and not is_same_host:
            headers, remark = {}, f"{TOKEN_KEPT}: /connect names another host, {replica}"
    parts = urlsplit(url)
    query = "&".join(filter(None, [parts.query, urlencode(client.query())]))
    return Address(urlunsplit(parts._replace(query=query)), headers, replica, remark)


def connecting(to: Address, seconds: float) -> connect:
    """The connection, as an async context manager; it may take so many seconds to open."""
    return connect(
        to.url,
        ssl=tls_trust.context_for(to.url),
        additional_headers=to.headers,
        compression=None,  # sound does not compress, and it would be the generator's time
        max_size=MAX_MESSAGE_BYTES,
        ping_interval=None,  # the stream itself shows whether it lives
        proxy=None,
        open_timeout=seconds,
        close_timeout=2,
    )


def told_on_upgrade(connection: ClientConnection) -> StreamReady:
    """What the answer to the upgrade says of who answered; a whisper-ops server says it in every dialect."""
    headers = connection.response.headers if connection.response is not None else {}

    def name(header: str) -> str | None:
        text = headers.get(header, "")
        return text if 0 < len(text) <= _LONGEST_NAME and text.isprintable() else None

    gpus = headers.get(wire.GPUS_HEADER, "")
    return StreamReady(
        connection_id=name(wire.CONNECTION_HEADER),
        server_id=name(wire.SERVER_HEADER),
        total_gpus=int(gpus) if gpus.isdecimal() and 0 < len(gpus) <= 4 else None,
    )


def shut(error: Exception, seconds: float) -> StreamOutcome:
    """What it means that a stream did not get in, given so many seconds for it."""
    match error:
        case InvalidStatus():
            code = error.response.status_code
            outcome = "refused" if code in {429, 503} else "failed"
            return StreamOutcome(outcome, f"HTTP {code} instead of a WebSocket", wants_token=code == _UNAUTHORIZED)
        case NoTokenError():
            return StreamOutcome("failed", str(error), wants_token=True)
        case ServerFullError():
            return StreamOutcome("refused", str(error))
        case TimeoutError():
            return StreamOutcome("failed", f"no connection in {seconds:g} s")
    return StreamOutcome("failed", tls_trust.untrusted("the server", error) or f"cannot connect: {error}")
