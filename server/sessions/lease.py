"""A lease: the server admits streams only while a supervisor renews it.

A supervisor that dies, hangs or is cut off may be replaced, and other servers started in the place of this one, which
would then take streams that nothing counts. So an expired lease stops admission, and nothing else: live streams stay. A
renewal admits streams again. Without one the server ends with its last stream, or drains and ends after the orphan
timeout.
"""

import logging
from collections.abc import Callable, Sized

from server.sessions.clock import now
from server.sessions.drain import GracefulDrain
from server.settings import Settings

log = logging.getLogger("whisper_ops.server")


class Lease:
    """`end` is called with the reason when the server must end."""

    def __init__(self, settings: Settings, drain: GracefulDrain, sessions: Sized, end: Callable[[str], None]) -> None:
        self._seconds, self._orphan_seconds = settings.lease_seconds, settings.orphan_seconds
        self._drain, self._sessions, self._end = drain, sessions, end
        self._renewed_at: float | None = None
        """Monotonic seconds; None: the lease begins with the first `check`."""
        self._expiry_logged = False

    @property
    def is_required(self) -> bool:
        """Whether the server has a lease at all."""
        return self._seconds > 0

    @property
    def seconds(self) -> float:
        """From one renewal to its end."""
        return self._seconds

    @property
    def has_expired(self) -> bool:
        return self.is_required and self._seconds_since_renewal > self._seconds

    @property
    def _seconds_since_renewal(self) -> float:
        return now() - self._renewed_at if self._renewed_at is not None else 0.0

    def renew(self) -> None:
        if self._expiry_logged:
            log.warning("Lease renewed after %.0f s: new streams are admitted again", self._seconds_since_renewal)
        self._renewed_at, self._expiry_logged = now(), False

    def check(self) -> None:
        """Called once a second: end or drain the server when its lease has expired."""
        if self._renewed_at is None:
            self._renewed_at = now()
        if not self.has_expired:
            return
        if not self._expiry_logged:
            self._expiry_logged = True
            log.warning("Lease expired: new streams are refused, %d go on", len(self._sessions))
        if not self._sessions:
            self._end(f"the lease was not renewed for {self._seconds_since_renewal:.0f} s, and no stream is left")
        elif self._seconds_since_renewal - self._seconds > self._orphan_seconds:
            self._drain.start()
