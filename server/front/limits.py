"""How long, how idle and how far behind a session may be."""

import asyncio
import logging
from collections.abc import Iterator

from server.encodings import BYTES_PER_SAMPLE
from server.front.clock import now
from server.front.session import OUTBOX_LIMIT, Audio, Session
from server.settings import Settings
from server.telemetry.stats import Stats

log = logging.getLogger("whisper_ops.server")

PAUSE_SECONDS = 60.0
"""With so much audio uncovered the server stops reading a socket."""
GIVE_UP_SECONDS = 90.0
"""With so much the session ends as overloaded."""
IDLE_LAG_SECONDS = 1.0
"""With more uncovered, whoever is silent may be waiting for us: back-pressure, or a file's next part."""


PIECE_SECONDS = 1.0
"""Audio is taken from a message in pieces of this length, each when there is room: a message may hold minutes."""


def pieces(data: bytes, audio: Audio) -> Iterator[bytes]:
    """A message's audio, cut for `room`; an empty message is a piece too."""
    step = max(1, int(PIECE_SECONDS * audio.sample_rate)) * BYTES_PER_SAMPLE[audio.encoding]
    return (data[at : at + step] for at in range(0, max(1, len(data)), step))


async def room(session: Session, stats: Stats) -> None:
    """Back-pressure: wait while too much of a session's audio is uncovered; beyond a limit, end it."""
    if session.lag_s <= PAUSE_SECONDS:
        session.pausing = False
        return
    stats.paused += not session.pausing
    session.pausing = True
    began = now()
    while session.lag_s > PAUSE_SECONDS and not session.done:
        # What the client says while we do not read is uncovered as well.
        if session.lag_s + now() - began > GIVE_UP_SECONDS:
            stats.overloaded += 1
            session.break_off("overloaded", f"more than {GIVE_UP_SECONDS:.0f} s of audio wait for text")
            return
        await asyncio.sleep(0.1)


def end_overdue(session: Session, settings: Settings) -> None:
    """End a session whose client sent nothing for too long, or that lasted too long."""
    # A client that waits until we have caught up is not idle.
    waits = session.lag_s > IDLE_LAG_SECONDS
    if session.ended:
        return
    if settings.idle_seconds and not waits and now() - session.heard_at > settings.idle_seconds:
        session.break_off("idle_timeout", f"No audio for {settings.idle_seconds:g} s")
    elif settings.session_seconds and now() - session.began > settings.session_seconds:
        session.break_off("session_timeout", f"A session lasts at most {settings.session_seconds:g} s")


def reads(session: Session) -> bool:
    """Whether a client takes what it is told; one that does not would fill our memory."""
    if len(session.outbox) <= OUTBOX_LIMIT:
        return True
    log.warning("Connection %s: does not read; given up", session.connection_id)
    return False
