"""WhisperLive (usually port 9090): JSON first, then 32-bit floats up; the last segments come down again and again."""

import uuid
from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np

from capacity.corpus.audio_files import Samples
from capacity.protocols.protocol import Event, Message, StreamDone, StreamFailed, StreamReady, StreamRefused, TextShown
from whisper_ops.known_software import WHISPERLIVE

_HAIR = 0.01
"""Seconds; times come as text with three digits."""


class _Segment(msgspec.Struct):
    start: str
    end: str
    text: str
    completed: bool = False


class _ServerMessage(msgspec.Struct):
    """Every field that any message has."""

    message: str | float | None = None
    status: str | None = None
    segments: list[_Segment] | None = None


class WhisperLiveClient:
    """One WhisperLive stream. A completed segment is committed once; the others are the tail."""

    software: ClassVar[str] = WHISPERLIVE
    path: ClassVar[str] = "/"
    flushes_tail: ClassVar[bool] = False

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_ServerMessage)
        self._committed_until = 0.0
        self._said_all = False

    def query(self) -> dict[str, str]:
        """Everything goes into the first message."""
        return {}

    def hello(self) -> Sequence[Message]:
        """Who we are and what we want; a server that was given one model uses that, whatever is asked for."""
        options = {
            "uid": str(uuid.uuid4()),
            "language": "en",
            "task": "transcribe",
            "model": "tiny.en",
            "use_vad": True,
            "send_last_n_segments": 10,
        }
        return (msgspec.json.encode(options).decode(),)

    def audio(self, samples: Samples) -> bytes:
        """32-bit floats between -1 and 1."""
        return (samples.astype("<f4") / np.float32(32768)).tobytes()

    def ending(self) -> Sequence[Message]:
        """WhisperLive closes at once on this, without decoding what it has left."""
        self._said_all = True
        return (b"END_OF_AUDIO",)

    def read(self, message: Message) -> Event | None:
        """Read one server message."""
        try:
            parsed = self._decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return StreamFailed(f"not a message of WhisperLive: {message[:60]!r}")
        if parsed.status == "WAIT":
            return StreamRefused(f"the server is full; it says to wait {parsed.message} minutes")
        if parsed.status == "ERROR":
            return StreamFailed(str(parsed.message))
        if parsed.message == "SERVER_READY":
            return StreamReady()
        if parsed.message == "DISCONNECT":
            # Other servers that speak it say so too when they have heard the end of the sound.
            return StreamDone() if self._said_all else StreamFailed("the server ended the session: its time is over")
        return None if parsed.segments is None else self._shown(parsed.segments)

    def _shown(self, segments: list[_Segment]) -> Event:
        committed, tail = [], []
        try:
            for segment in segments:
                if float(segment.start) < self._committed_until - _HAIR:
                    continue  # one of the last few that is sent again
                if segment.completed:
                    committed.append(segment.text.strip())
                    self._committed_until = float(segment.end)
                else:
                    tail.append(segment.text.strip())
        except ValueError:
            return StreamFailed(f"not the time of a segment: {segments[-1].start!r}")
        return TextShown(" ".join(committed), " ".join(tail))
