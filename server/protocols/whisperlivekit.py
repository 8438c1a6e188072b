"""WhisperLiveKit's protocol at `/asr`: 16-bit audio at 16 kHz in, updates of lines and a buffer out.

`mode=full` (its default) sends every line each time. `mode=diff` sends a `snapshot` once and then a `diff` with what is
new: `new_lines` to append, `n_lines` in all, and the buffers as they stand. An empty binary message ends the stream.
"""

from collections import deque
from typing import Any

from server import ipc
from server.protocols.client_connection import ClientConnection
from server.protocols.protocol_errors import CLOSE_CODES, ProtocolError
from server.sessions.audio_request import AudioRequest
from server.sessions.refusals import AdmissionRefused
from server.sessions.session import Session

_LINES = 500
"""Lines that an update holds at most: an hour's talk must not make every update an hour long."""


class LiveKitConnection(ClientConnection):
    """One WhisperLiveKit client."""

    parameters = frozenset({"language", "mode", "target_language", "idle", "ticket", "token"})

    async def handshake(self) -> tuple[AudioRequest, int]:
        mode = self.socket.query_params.get("mode", "full")
        if mode not in ("full", "diff"):
            raise ProtocolError("bad_request", f"mode {mode!r} is not supported; use full or diff")
        if self.socket.query_params.get("target_language"):
            raise ProtocolError("bad_request", "target_language: translation is not supported; leave it out")
        self._diff = mode == "diff"
        self._lines: deque[dict[str, Any]] = deque(maxlen=_LINES)
        """All that full mode shows; of diff mode what the client lacks."""
        self._line_count = self._sequence = 0
        await self.send({"type": "config", "useAudioWorklet": True, "mode": mode})
        return AudioRequest(language=self.socket.query_params.get("language")), 0

    async def handle_message(self, session: Session, message: dict[str, Any]) -> None:
        data = message.get("bytes")
        if data:
            await self.receive_audio(session, data)
        elif data is not None:
            self.hub.end_audio(session)
        else:
            raise ProtocolError(
                "bad_request", "text messages are not supported; send audio as binary messages, an empty one at the end"
            )

    async def send_event(self, session: Session, message: ipc.Message) -> bool:
        match message:
            case ipc.Partial():
                await self._update(session, message.text)
            case ipc.Final():
                span = {"start": _clock(message.start), "end": _clock(message.end)}
                line = {"speaker": 1, "text": message.text, **span}
                self._lines.append(line | ({"detected_language": message.language} if message.language else {}))
                self._line_count += 1
                await self._update(session, "")
            case ipc.Undecoded():
                await self._update(session, "", error=ipc.undecoded_sentence(message))
            case ipc.Done():
                await self.send({"type": "ready_to_stop"})
                await self.close(1000)
                return True
            case ipc.Fault():
                await self._error(message.reason)
                await self.close(CLOSE_CODES.get(message.code, 1011), message.reason)
                return True
        return False

    async def _update(self, session: Session, buffer: str, *, error: str | None = None) -> None:
        lag_s = round(session.lag_s, 2)
        now = {
            "status": "active_transcription",
            "buffer_transcription": buffer,
            "buffer_diarization": "",
            "buffer_translation": "",
            "remaining_time_transcription": lag_s,
            "remaining_time_transcription_processing": lag_s,
            "remaining_time_transcription_policy": 0,
            "remaining_time_diarization": 0,
        }
        if error is not None:
            now["error"] = error
        await self.send(self._difference(now) if self._diff else now | {"lines": list(self._lines)})

    def _difference(self, now: dict[str, Any]) -> dict[str, Any]:
        self._sequence += 1
        lines = list(self._lines)
        self._lines.clear()
        if self._sequence == 1:
            return {"type": "snapshot", "seq": 1, **now, "lines": lines}
        message = {"type": "diff", "seq": self._sequence, **now, "n_lines": self._line_count}
        return message | ({"new_lines": lines} if lines else {})

    async def _error(self, message: str) -> None:
        await self.send({"type": "error", "error": message})

    async def send_refusal(self, refusal: AdmissionRefused) -> None:
        await self._error(refusal.message)
        await self.close(1013, refusal.message)

    async def send_error(self, error: ProtocolError) -> None:
        """4400 is WhisperLiveKit's own code for bad parameters."""
        await self._error(error.message)
        await self.close(4400, error.message)


def _clock(seconds: float) -> str:
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    return f"{minutes // 60}:{minutes % 60:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"
