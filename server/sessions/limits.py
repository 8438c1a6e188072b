"""Bounds of a session: its length, its idle time, its lag, its unread messages."""

import asyncio
import logging
import re
from collections.abc import Iterator

from server.audio_formats import BYTES_PER_SAMPLE
from server.sessions.audio_request import AudioRequest
from server.sessions.clock import now
from server.sessions.counters import ServerCounters
from server.sessions.outbox import OUTBOX_LIMIT
from server.sessions.session import Session
from server.settings import Settings

log = logging.getLogger("whisper_ops.server")

PAUSE_SECONDS = 60.0
"""Of lag, from which the server stops reading the socket."""
GIVE_UP_SECONDS = 90.0
"""Of lag, at which the session ends as overloaded."""
TAIL_SECONDS = 30.0
"""For the tail of a stream that the server ends."""
IDLE_LAG_SECONDS = 1.0
"""With more lag a silent client may be waiting for us: for back-pressure to end, or for text."""


PIECE_SECONDS = 1.0
"""Audio is taken from a message in pieces of this length, each when there is room: a message may hold minutes."""


def split_audio(data: bytes, audio: AudioRequest) -> Iterator[bytes]:
    """A message's audio in pieces for `back_pressure`; an empty message is one piece."""
    step = max(1, int(PIECE_SECONDS * audio.sample_rate)) * BYTES_PER_SAMPLE[audio.encoding]
    return (data[at : at + step] for at in range(0, max(1, len(data)), step))


async def back_pressure(session: Session, stats: ServerCounters) -> None:
    """Wait while a session's lag is above PAUSE_SECONDS; end it at GIVE_UP_SECONDS."""
    if session.lag_s <= PAUSE_SECONDS:
        session.pausing = False
        return
    stats.paused += not session.pausing
    session.pausing = True
    began = now()
    while session.lag_s > PAUSE_SECONDS and not session.done:
        # What the client sends while we do not read has no text either.
        if session.lag_s + now() - began > GIVE_UP_SECONDS:
            stats.overloaded += 1
            session.fail("overloaded", f"more than {GIVE_UP_SECONDS:.0f} s of audio have no text yet")
            return
        await asyncio.sleep(0.1)


def idle_seconds(asked: str | None, settings: Settings, *, keeps_alive: bool) -> float:
    """How long a client may send nothing: what it asks for, else what its protocol gets. 0: for ever.

    Raises:
        ValueError: it is no time that may be asked for; the message says which may.
    """
    most = max(settings.max_idle_seconds, settings.idle_seconds)
    if asked is None:
        return settings.idle_seconds if keeps_alive or not settings.idle_seconds else most
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", asked, re.ASCII) or not 1 <= float(asked) <= max(1.0, most):
        raise ValueError(f"idle {asked[:20]!r} is not a number of seconds from 1 to {most:g}")
    return float(asked)


def timeout(session: Session, settings: Settings) -> tuple[str, str] | None:
    """Whether a session ends because its client was idle for too long, or because it lasted too long.

    Returns:
        The code and the reason to tell the client; None when it may go on.
    """
    if session.ended or session.done:
        return None
    # A client that waits until we have caught up is not idle.
    waits = session.lag_s > IDLE_LAG_SECONDS
    idle, longest = session.idle_seconds, settings.session_seconds
    if idle and not waits and now() - session.last_message_at > idle:
        return "idle_timeout", f"No message for {idle:g} s"
    if longest and now() - session.began > longest:
        return "session_timeout", f"A session lasts at most {longest:g} s"
    return None


def end_late_tail(session: Session) -> None:
    """End a session whose tail should have been decoded by now."""
    if session.ending is not None and now() - session.ending_at > TAIL_SECONDS:
        session.fail(session.ending.code, session.ending.reason)


def reads_messages(session: Session) -> bool:
    """Whether a client reads its messages; one that does not would fill the memory."""
    if len(session.outbox) <= OUTBOX_LIMIT:
        return True
    log.warning("Connection %s: closed, as its client reads nothing", session.connection_id)
    return False
