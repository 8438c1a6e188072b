"""A server on a lease takes streams only while its supervisor says, again and again, that it is still there.

What places servers on machines may die, hang or be cut off, and then start others in their place: a server that went on
taking streams would be one that nobody counts. So a lease that runs out closes the door and nothing else: who is on the
air stays. The door opens when the lease is renewed; without that the server ends with its last stream, or, when it has
been an orphan for too long, drains and ends.
"""

import logging
from collections.abc import Callable, Sized

from server.sessions.clock import now
from server.sessions.drain import GracefulDrain
from server.settings import Settings

log = logging.getLogger("whisper_ops.server")


class Lease:
    """`end` is told why the server ends."""

    def __init__(self, settings: Settings, drain: GracefulDrain, sessions: Sized, end: Callable[[str], None]) -> None:
        self._seconds, self._orphan_seconds = settings.lease_seconds, settings.orphan_seconds
        self._drain, self._sessions, self._end = drain, sessions, end
        self._renewed_at: float | None = None
        """None: it begins with the first look."""
        self._lapse_logged = False

    @property
    def is_required(self) -> bool:
        """Whether this server has one at all."""
        return self._seconds > 0

    @property
    def seconds(self) -> float:
        """How long it lasts from one renewal."""
        return self._seconds

    @property
    def has_lapsed(self) -> bool:
        """Whether it ran out."""
        return self.is_required and self._seconds_since_renewal > self._seconds

    @property
    def _seconds_since_renewal(self) -> float:
        """Since the supervisor's last word, in seconds."""
        return now() - self._renewed_at if self._renewed_at is not None else 0.0

    def renew(self) -> None:
        """The supervisor is there."""
        if self._lapse_logged:
            log.warning("Lease renewed after %.0f s: new streams are admitted again", self._seconds_since_renewal)
        self._renewed_at, self._lapse_logged = now(), False

    def check(self) -> None:
        """Once a second: what must follow from a lease that has run out."""
        if self._renewed_at is None:
            self._renewed_at = now()
        if not self.has_lapsed:
            return
        if not self._lapse_logged:
            self._lapse_logged = True
            log.warning("Lease expired: new streams are refused, %d go on", len(self._sessions))
        if not self._sessions:
            self._end(f"the lease was not renewed for {self._seconds_since_renewal:.0f} s, and no stream is left")
        elif self._seconds_since_renewal - self._seconds > self._orphan_seconds:
            self._drain.start()
