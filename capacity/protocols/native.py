"""The native protocol of whisper-ops (docs/api.md): `/ws`, 16-bit sound up, JSON down."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from capacity.corpus.audio_files import Samples
from capacity.protocols.protocol import Event, Message, StreamDone, StreamFailed, StreamReady, StreamRefused, TextShown
from whisper_ops.known_software import WHISPER_OPS

_REFUSALS = frozenset({"no_capacity", "draining", "lagging", "too_many_connections"})
"""Codes of a server that does not take this stream now, and says so."""


class _ServerMessage(msgspec.Struct):
    """Every field that any native message has; `type` says which count."""

    type: str
    segment: int = 0
    text: str = ""
    gpu_id: int | None = None
    connection_id: str | None = None
    server_id: str | None = None
    total_gpus: int | None = None
    code: str = ""
    message: str = ""


class NativeClient:
    """One native stream. Finals are committed in the order of their segments; partials are the tail."""

    software: ClassVar[str] = WHISPER_OPS
    path: ClassVar[str] = "/ws"
    flushes_tail: ClassVar[bool] = True

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_ServerMessage)
        self._next: int | None = None
        """The segment to be committed next; the first one heard of begins."""
        self._finals: dict[int, str] = {}
        self._partials: dict[int, str] = {}

    def query(self) -> dict[str, str]:
        """16 kHz and 16 bits are the protocol's defaults."""
        return {}

    def hello(self) -> Sequence[Message]:
        """The server speaks first."""
        return ()

    def audio(self, samples: Samples) -> bytes:
        """Little-endian 16-bit samples."""
        return samples.astype("<i2", copy=False).tobytes()

    def ending(self) -> Sequence[Message]:
        """Ask for the tail."""
        return ('{"type":"end"}',)

    def read(self, message: Message) -> Event | None:
        """Read one server message."""
        try:
            parsed = self._decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return StreamFailed(f"not a message of the native protocol: {_excerpt(message)}")
        event: Event | None
        match parsed.type:
            case "ready":
                event = StreamReady(parsed.gpu_id, parsed.connection_id, parsed.server_id, parsed.total_gpus)
            case "partial" | "final":
                event = self._text(parsed)
            case "error":
                event = (StreamRefused if parsed.code in _REFUSALS else StreamFailed)(parsed.message or parsed.code)
            case "done":
                event = StreamDone()
            case "status" | "draining" | "warning":
                event = None
            case _:
                event = StreamFailed(f"not a message of the native protocol: {_excerpt(message)}")
        return event

    def _text(self, parsed: _ServerMessage) -> TextShown:
        if self._next is None:
            self._next = parsed.segment
        if parsed.type == "partial":
            if parsed.segment not in self._finals and parsed.segment >= self._next:
                self._partials[parsed.segment] = parsed.text
            return self._shown([])
        self._finals[parsed.segment] = parsed.text
        self._partials.pop(parsed.segment, None)
        committed = []
        while self._next in self._finals:
            committed.append(self._finals.pop(self._next))
            self._next += 1
        return self._shown(committed)

    def _shown(self, committed: list[str]) -> TextShown:
        waiting = {**self._partials, **self._finals}
        return TextShown(" ".join(committed), " ".join(waiting[k] for k in sorted(waiting)))


def _excerpt(message: Message) -> str:
    return repr(message[:60])
