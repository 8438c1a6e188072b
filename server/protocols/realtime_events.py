"""The events of an OpenAI Realtime client, and the options of its `session.update`.

Unknown fields are errors: a client is never left to think that one has an effect.
"""

import base64
import binascii
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server import languages
from server.audio_formats import MAX_RATE, MIN_RATE
from server.protocols.protocol_errors import ProtocolError, protocol_error
from server.request_parsing import UnreadableError, read_json
from server.sessions.turn_detection import ServerVad

DEFAULT_RATE = 24000
_RATES = {"audio/pcm": DEFAULT_RATE, "audio/pcmu": 8000}
_ENCODINGS = {"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw"}
_MESSAGES = ("session.update", "input_audio_buffer.append", "input_audio_buffer.commit")


class AudioFormat(msgspec.Struct, forbid_unknown_fields=True):
    """What the audio is."""

    type: Literal["audio/pcm", "audio/pcmu"] = "audio/pcm"
    rate: Annotated[int, Meta(ge=MIN_RATE, le=MAX_RATE)] | None = None


class Transcription(msgspec.Struct, forbid_unknown_fields=True):
    """The text that is asked for. The model is the server's own, as `session.updated` says."""

    model: str | None = None
    language: str | UnsetType | None = UNSET
    prompt: str | None = None


class TurnDetection(ServerVad, forbid_unknown_fields=True, frozen=True):
    """The fields beyond `ServerVad` are for conversations: no response is made here, and none interrupted."""

    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: None = None

    def vad(self) -> ServerVad:
        return ServerVad("server_vad", self.threshold, self.prefix_padding_ms, self.silence_duration_ms)


class AudioInput(msgspec.Struct, forbid_unknown_fields=True):
    """`session.audio.input`."""

    format: AudioFormat | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | UnsetType | None = UNSET
    noise_reduction: None = None


class AudioPart(msgspec.Struct, forbid_unknown_fields=True):
    """`session.audio`."""

    input: AudioInput = msgspec.field(default_factory=AudioInput)


class SessionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`session`."""

    type: Literal["transcription"] = "transcription"
    audio: AudioPart = msgspec.field(default_factory=AudioPart)
    include: Annotated[list[str], Meta(max_length=0)] | None = None


class RealtimeEvent(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    """An event of the client."""

    event_id: Annotated[str, Meta(max_length=512)] | None = None


class SessionUpdate(RealtimeEvent, tag="session.update", kw_only=True):
    """How the session shall be."""

    session: SessionRequest


class AppendAudio(RealtimeEvent, tag="input_audio_buffer.append", kw_only=True):
    """Audio, in base64."""

    audio: str


class CommitAudio(RealtimeEvent, tag="input_audio_buffer.commit"):
    """What was sent is one item."""


ClientEvent = SessionUpdate | AppendAudio | CommitAudio


class EventError(Exception):
    """An event that is not served, and its `event_id`, where it has one."""

    def __init__(self, reason: ProtocolError, event_id: str | None) -> None:
        super().__init__(reason.message)
        self.reason, self.event_id = reason, event_id


def read_event(message: dict[str, Any]) -> ClientEvent:
    """One event out of an ASGI message.

    Raises:
        EventError: it is none, or not one that is served.
    """
    data = message.get("text") or message.get("bytes") or b""
    try:
        return read_json(data, ClientEvent)  # type: ignore[arg-type]  # a union of structs is a type to msgspec
    except UnreadableError as error:
        reason = protocol_error(error, "cannot read the event")
        if error.malformed:
            raise EventError(reason, None) from error
        kind, event_id = _envelope(data)
        if kind is not None and kind not in _MESSAGES:
            reason = ProtocolError(
                "bad_request", f"unknown event type {kind[:64]!r}; use {', '.join(_MESSAGES)}", "type"
            )
        raise EventError(reason, event_id) from error


def _envelope(data: bytes | str) -> tuple[str | None, str | None]:
    """The type and the id of an event that has anything else wrong."""
    try:
        fields = read_json(data, dict[str, Any])
    except UnreadableError:
        return None, None
    kind, event_id = fields.get("type"), fields.get("event_id")
    return kind if isinstance(kind, str) else None, event_id[:512] if isinstance(event_id, str) else None


def audio_of(event: AppendAudio) -> bytes:
    """The audio of an event.

    Raises:
        ProtocolError: it is not base64.
    """
    try:
        return base64.b64decode(event.audio, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("bad_audio", f"the audio is not base64: {error}", "audio") from error


@dataclass(frozen=True)
class SessionOptions:
    """What a client has asked for so far. `manual`: an item is what the client commits."""

    format: Literal["audio/pcm", "audio/pcmu"] = "audio/pcm"
    rate: int = DEFAULT_RATE
    language: str | None = None
    detection: ServerVad = field(default_factory=ServerVad)
    manual: bool = False

    def described(self, model: str) -> dict[str, Any]:
        """`session.audio`, as the server understood it."""
        turns: dict[str, Any] | None = None
        if not self.manual:
            turns = {k: v for k, v in msgspec.to_builtins(self.detection).items() if v is not None}
        form = {"type": self.format, "rate": self.rate}
        options = {"model": model, "language": self.language}
        return {"input": {"format": form, "transcription": options, "turn_detection": turns}}

    @property
    def encoding(self) -> str:
        """Of `server.audio_formats`."""
        return _ENCODINGS[self.format]

    def updated(self, request: SessionRequest) -> "SessionOptions":
        """The same with what an update names; what it leaves out stays as it was.

        Raises:
            ProtocolError: something of it is not served.
        """
        given, options = request.audio.input, self
        if (form := given.format) is not None:
            options = replace(options, format=form.type, rate=form.rate or _RATES[form.type])
        if (text := given.transcription) is not None:
            if text.prompt:
                raise ProtocolError(
                    "bad_request", "a prompt is not supported; leave it out", "session.audio.input.transcription.prompt"
                )
            if text.language is not UNSET:
                options = replace(options, language=_language(text.language))
        if (turns := given.turn_detection) is not UNSET:
            options = replace(options, manual=turns is None)
            if turns is not None:
                options = replace(options, detection=turns.vad())
        return options


def _language(text: str | None) -> str | None:
    try:
        return languages.read(text)
    except languages.LanguageError as error:
        raise ProtocolError("bad_request", str(error), "session.audio.input.transcription.language") from error
