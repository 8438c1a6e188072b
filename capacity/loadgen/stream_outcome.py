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


TRY_AGAIN_LATER = 1013
"""What a connection is closed with by a server that has no room."""
_POLICY_VIOLATION = 1008
"""What a connection with a wrong token is closed with."""


class StreamEnd:
    """The end of one stream. Whoever sees it first says why; `reached` is done from then on."""

    def __init__(self) -> None:
        self.reached: asyncio.Future[StreamOutcome] = asyncio.get_running_loop().create_future()
        self.remark: str | None = None
        """What may be the reason of an end that comes now."""
        self.at: float | None = None
        """On the monotonic clock; None while the stream lives."""

    @property
    def outcome(self) -> StreamOutcome | None:
        """How it ended; None while the stream lives."""
        return self.reached.result() if self.reached.done() else None

    def set(self, outcome: StreamOutcome) -> None:
        """It ended; what is said later does not count."""
        if not self.reached.done():
            if outcome.error and self.remark:
                # It was told no token, and why is the remark: another token would change nothing.
                outcome = StreamOutcome(outcome.outcome, f"{outcome.error} ({self.remark})")
            self.at = time.monotonic()
            self.reached.set_result(outcome)


def connection_lost(closed: ConnectionClosed) -> StreamOutcome:
    """What it means that a connection closed before its end."""
    code = closed.rcvd.code if closed.rcvd else None
    reason = closed.rcvd.reason if closed.rcvd else ""
    if code == TRY_AGAIN_LATER:
        return StreamOutcome("refused", reason or "closed with 1013: try again later")
    error = f"connection lost ({code or 'no close code'}{': ' + reason if reason else ''})"
    return StreamOutcome("cut", error, wants_token=code == _POLICY_VIOLATION)
