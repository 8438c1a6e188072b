"""WhisperLive's protocol at `/`: its stock clients work unchanged, and their tail is decoded.

The client sends a JSON object first, then float32 audio at 16 kHz, then the bytes `END_OF_AUDIO`. Results are a list of
the last segments and the one in progress; times are strings of seconds.
"""

from collections import deque
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.websockets import WebSocketDisconnect

from server import ipc
from server.protocols.client_connection import ClientConnection
from server.protocols.protocol_errors import CLOSE_CODES, ProtocolError, protocol_error
from server.request_parsing import UnreadableError, read_json
from server.sessions.audio_request import AudioRequest
from server.sessions.refusals import AdmissionRefused
from server.sessions.session import Session

END = b"END_OF_AUDIO"
_MOST_SEGMENTS = 500
_FORMATS = {"float32": "pcm_f32le", "int16": "pcm_s16le"}


_STOCK: dict[str, tuple[Any, ...]] = {
    "no_speech_thresh": (0.45,),
    "same_output_threshold": (7, 10),
    "clip_audio": (False,),
    "initial_prompt": ("",),
    "hotwords": ("",),
    "vad_parameters": ({},),
    "target_language": ("fr",),
    "enable_diarization": (False,),
    "max_speakers": (10,),
    "known_speakers": ([],),
}
"""What the original tunes and we do not, with what its stock clients send: only another value is worth a warning."""
_MEANINGLESS = frozenset({"model", "use_vad", "max_clients", "max_connection_time"})
"""Stock clients send these to every server. The model is the server's own, voice activity is always judged, and how
many may come and for how long is the server's to say, as it is with the original's --single_model and its limits."""


class WhisperLiveOptions(msgspec.Struct):
    """The client's first message. Of its other fields the client is warned, in the original's own way."""

    uid: Annotated[str, Meta(max_length=256)]
    language: str | None = None
    task: Literal["transcribe"] = "transcribe"
    enable_translation: Literal[False] | None = False
    audio_format: str = "float32"
    send_last_n_segments: Annotated[int, Meta(ge=0)] = 10
    word_timestamps: bool = False


def not_honoured(options: dict[str, Any]) -> list[str]:
    """The fields that ask for something that does not happen here."""
    known = _MEANINGLESS.union(field.name for field in msgspec.structs.fields(WhisperLiveOptions))
    return [
        name
        for name, value in options.items()
        if name not in known and value is not None and value not in _STOCK.get(name, ())
    ]


class WhisperLiveConnection(ClientConnection):
    """One WhisperLive client."""

    _uid: str = ""
    _sent_language: str | None = None
    """The language that the client has given, or was told last."""

    async def handshake(self) -> tuple[AudioRequest, int]:
        message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"])
        first = message.get("text") or message.get("bytes") or b""
        try:
            options = read_json(first, WhisperLiveOptions)
            self._ignored = not_honoured(read_json(first, dict[str, Any]))
        except UnreadableError as error:
            raise protocol_error(error, "cannot read the first message") from error
        self._uid = options.uid
        if options.audio_format not in _FORMATS:
            raise ProtocolError(
                "bad_request", f"audio_format {options.audio_format!r} is not supported; use {', '.join(_FORMATS)}"
            )
        # The original's 0 is all of them; no client shows more than ours.
        most = min(options.send_last_n_segments or _MOST_SEGMENTS, _MOST_SEGMENTS)
        self._segments: deque[dict[str, Any]] = deque(maxlen=most)
        return AudioRequest(16000, _FORMATS[options.audio_format], options.language, options.word_timestamps), 0

    async def send_ready(self, session: Session) -> None:
        """A language nobody named is told as soon as it is known."""
        await self.send({"uid": self._uid, "message": "SERVER_READY", "backend": "faster_whisper"})
        if self._ignored:
            names = ", ".join(name[:64] for name in self._ignored[:16])
            await self._status("WARNING", f"this server ignores {names}")
        self._sent_language = session.audio.language
        known = self.hub.language_of(session)
        if known != self._sent_language and known is not None:
            await self._send_language(known, 1.0)

    async def _send_language(self, language: str, probability: float | None) -> None:
        self._sent_language = language
        await self.send({"uid": self._uid, "language": language, "language_prob": probability})

    async def handle_message(self, session: Session, message: dict[str, Any]) -> None:
        data = message.get("bytes")
        if data == END or message.get("text") == END.decode():
            self.hub.end_audio(session)
        elif data is not None:
            await self.receive_audio(session, data)
        else:
            raise ProtocolError(
                "bad_request", "text messages are not supported; send audio as binary messages, END_OF_AUDIO at the end"
            )

    async def send_event(self, session: Session, message: ipc.Message) -> bool:  # noqa: ARG002  # the protocol's hook
        match message:
            case ipc.Partial():
                # An empty one takes back what was shown: nobody had spoken.
                now = [_segment(message, completed=False)] if message.text else []
                await self._results([*self._segments, *now])
            case ipc.Final():
                if message.language and message.language != self._sent_language:
                    await self._send_language(message.language, message.language_probability)
                self._segments.append(_segment(message, completed=True))
                await self._results(list(self._segments))
            case ipc.Undecoded():
                await self._status("WARNING", ipc.undecoded_sentence(message))
            case ipc.Done():
                await self.send({"uid": self._uid, "message": "DISCONNECT"})
                await self.close(1000)
                return True
            case ipc.Fault(code="idle_timeout" | "session_timeout"):
                # Their word for a session that is over; the tail is decoded by now.
                await self.send({"uid": self._uid, "message": "DISCONNECT"})
                await self.close(CLOSE_CODES[message.code], message.reason)
                return True
            case ipc.Fault():
                await self._status("ERROR", message.reason)
                await self.close(CLOSE_CODES.get(message.code, 1011), message.reason)
                return True
        return False

    async def _results(self, segments: list[dict[str, Any]]) -> None:
        await self.send({"uid": self._uid, "segments": segments})

    async def _status(self, status: str, message: str | float) -> None:
        await self.send({"uid": self._uid, "status": status, "message": message})

    async def send_refusal(self, refusal: AdmissionRefused) -> None:
        """WhisperLive's word for it holds the minutes to wait."""
        await self._status("WAIT", refusal.retry_after_s / 60)
        await self.close(1013, refusal.message)

    async def send_error(self, error: ProtocolError) -> None:
        await self._status("ERROR", error.message)
        await self.close(CLOSE_CODES[error.code], error.message)


def _segment(result: ipc.Partial | ipc.Final, *, completed: bool) -> dict[str, Any]:
    words = result.words if isinstance(result, ipc.Final) else None
    segment = {"start": f"{result.start:.3f}", "end": f"{result.end:.3f}", "text": result.text, "completed": completed}
    return segment if words is None else segment | {"words": words}
