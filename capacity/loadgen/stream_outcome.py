"""How a stream ended: for the first reason there was, and once."""

import asyncio
import time
from typing import NamedTuple

from websockets.exceptions import ConnectionClosed


class StreamOutcome(NamedTuple):
    """How a stream ended before its time, or well."""

    outcome: str
    """One of `StreamResult.outcome`."""
    error: str | None = None
    wants_token: bool = False
    """Whether the server turned the token away that it was told, or the lack of one."""


_POLICY_VIOLATION = 1008
"""What a connection with a wrong token is closed with."""


class StreamEnd:
    """The end of one stream. Whoever sees it first says why; `waited` is done from then on."""

    def __init__(self) -> None:
        self.waited: asyncio.Future[StreamOutcome] = asyncio.get_running_loop().create_future()
        self.remark: str | None = None
        """What may be the reason of an end that comes now."""
        self.at: float | None = None
        """On the monotonic clock; None while the stream lives."""

    @property
    def ending(self) -> StreamOutcome | None:
        """How it ended; None while the stream lives."""
        return self.waited.result() if self.waited.done() else None

    def set(
        self, outcome: str, error: str | None = None, wants_token: bool = False
    ) -> None:  # an `StreamOutcome`, spread out
        """It ended; what is said later does not count."""
        if not self.waited.done():
            if error and self.remark:
                # It was told no token, and why is the remark: another token would change nothing.
                error, wants_token = f"{error} ({self.remark})", False
            self.at = time.monotonic()
            self.waited.set_result(StreamOutcome(outcome, error, wants_token))


def lost(closed: ConnectionClosed) -> StreamOutcome:
    """What it means that a connection closed before its end."""
    code = closed.rcvd.code if closed.rcvd else None
    reason = closed.rcvd.reason if closed.rcvd else ""
    if code == 1013:
        return StreamOutcome("refused", reason or "closed with 1013: try again later")
    said = f"connection lost ({code or 'no close code'}{': ' + reason if reason else ''})"
    return StreamOutcome("cut", said, wants_token=code == _POLICY_VIOLATION)
