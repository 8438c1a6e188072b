"""WhisperLiveKit (`/asr`, started with `--pcm-input`): 16-bit sound up; every update holds the whole transcript."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from capacity.corpus.audio_files import Samples
from capacity.protocols.protocol import Event, Message, StreamDone, StreamFailed, StreamReady, TextShown
from whisper_ops.known_software import WHISPERLIVEKIT

_SILENCE = -2


class _Line(msgspec.Struct):
    text: str | None = None
    speaker: int | str | None = None


class _ServerMessage(msgspec.Struct):
    """Every field that counts, of any message."""

    type: str | None = None
    error: str | None = None
    status: str | None = None
    lines: list[_Line] | None = None
    buffer_transcription: str | None = None


class WhisperLiveKitClient:
    """One WhisperLiveKit stream. Its lines may still be merged and mended, so all of it is tail."""

    software: ClassVar[str] = WHISPERLIVEKIT
    path: ClassVar[str] = "/asr"
    flushes_tail: ClassVar[bool] = True

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_ServerMessage)

    def query(self) -> dict[str, str]:
        """The full transcript in every update."""
        return {"language": "en", "mode": "full"}

    def hello(self) -> Sequence[Message]:
        """The server speaks first."""
        return ()

    def audio(self, samples: Samples) -> bytes:
        """Little-endian 16-bit samples."""
        return samples.astype("<i2", copy=False).tobytes()

    def ending(self) -> Sequence[Message]:
        """An empty frame asks for the tail."""
        return (b"",)

    def read(self, message: Message) -> Event | None:
        """Read one server message."""
        try:
            parsed = self._decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return StreamFailed(f"not a message of WhisperLiveKit: {message[:60]!r}")
        match parsed.type:
            case "config":
                return StreamReady()
            case "ready_to_stop":
                return StreamDone()
        if parsed.error:
            return StreamFailed(parsed.error)
        if parsed.lines is None:
            return None
        texts = [line.text for line in parsed.lines if line.text and line.speaker != _SILENCE]
        return TextShown("", " ".join([*texts, parsed.buffer_transcription or ""]).strip())
