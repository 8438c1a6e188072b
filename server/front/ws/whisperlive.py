"""WhisperLive's protocol at `/`: its stock clients work unchanged, and their tail is decoded.

The client sends a JSON object first, then float32 audio at 16 kHz, then the bytes `END_OF_AUDIO`. Results are a list of
the last segments and the one in progress; times are strings of seconds.
"""

from collections import deque
from typing import Any

import msgspec

from server import ipc
from server.front.hub import Refused
from server.front.session import Audio, Session
from server.front.ws.base import CLOSE_CODES, Bad, Conversation

END = b"END_OF_AUDIO"
_FORMATS = {"float32": "pcm_f32le", "int16": "pcm_s16le"}


class Options(msgspec.Struct):
    """The client's first message; what else it holds is ignored."""

    uid: str
    language: str | None = None
    audio_format: str = "float32"
    send_last_n_segments: int = 10
    word_timestamps: bool = False


class WhisperLiveConnection(Conversation):
    """One WhisperLive client."""

    _uid: str = ""

    async def hello(self) -> tuple[Audio, int]:
        """See `Conversation`."""
        message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            raise Bad("bad_request", "the client left before it said what it wants")
        try:
            options = msgspec.json.decode(message.get("text") or message.get("bytes") or b"", type=Options)
        except msgspec.DecodeError as error:
            raise Bad("bad_json", f"cannot read the first message: {error}") from error
        self._uid = options.uid
        if options.audio_format not in _FORMATS:
            raise Bad("bad_request", f"audio_format {options.audio_format!r} is not taken; say {', '.join(_FORMATS)}")
        self._language_given = options.language is not None
        self._segments: deque[dict[str, Any]] = deque(maxlen=max(1, options.send_last_n_segments))
        return Audio(16000, _FORMATS[options.audio_format], options.language, options.word_timestamps), 0

    async def ready(self, session: Session) -> None:
        """See `Conversation`. A language nobody named is told only where the model knows no other."""
        await self.send({"uid": self._uid, "message": "SERVER_READY", "backend": "faster_whisper"})
        loaded = self.hub.workers[session.gpu_id].loaded
        if not self._language_given and loaded is not None and loaded.languages == "en":
            await self.send({"uid": self._uid, "language": "en", "language_prob": 1.0})

    async def heard(self, session: Session, message: dict[str, Any]) -> None:
        """See `Conversation`."""
        data = message.get("bytes") or (message.get("text") or "").encode()
        if data == END:
            self.hub.end(session)
        else:
            await self.listen(session, data)

    async def say(self, session: Session, message: ipc.Message) -> bool:  # noqa: ARG002  # the dialect's hook
        """See `Conversation`."""
        match message:
            case ipc.Partial():
                await self._results([*self._segments, _segment(message, completed=False)])
            case ipc.Final():
                self._segments.append(_segment(message, completed=True))
                await self._results(list(self._segments))
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
                await self.close(CLOSE_CODES.get(message.code, 1011))
                return True
        return False

    async def _results(self, segments: list[dict[str, Any]]) -> None:
        await self.send({"uid": self._uid, "segments": segments})

    async def _status(self, status: str, message: str | float) -> None:
        await self.send({"uid": self._uid, "status": status, "message": message})

    async def refuse(self, refusal: Refused) -> None:
        """See `Conversation`. WhisperLive's word for it holds the minutes to wait."""
        await self._status("WAIT", refusal.retry_after_s / 60)
        await self.close(1013, refusal.message)

    async def complain(self, bad: Bad) -> None:
        """See `Conversation`."""
        await self._status("ERROR", bad.message)
        await self.close(CLOSE_CODES[bad.code], bad.message)


def _segment(said: ipc.Partial | ipc.Final, *, completed: bool) -> dict[str, Any]:
    words = said.words if isinstance(said, ipc.Final) else None
    segment = {"start": f"{said.start:.3f}", "end": f"{said.end:.3f}", "text": said.text, "completed": completed}
    return segment if words is None else segment | {"words": words}
