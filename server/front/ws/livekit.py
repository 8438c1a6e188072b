"""WhisperLiveKit's protocol at `/asr`: 16-bit audio at 16 kHz in, updates of lines and a buffer out.

`mode=full` (its default) sends every line each time; an empty binary message ends the stream.
"""

from collections import deque
from typing import Any

from server import ipc
from server.front.hub import Refused
from server.front.session import Audio, Session
from server.front.ws.base import CLOSE_CODES, Bad, Conversation

_LINES = 500
"""Lines that an update holds at most: an hour's talk must not make every update an hour long."""


class LiveKitConnection(Conversation):
    """One WhisperLiveKit client."""

    async def hello(self) -> tuple[Audio, int]:
        """See `Conversation`."""
        mode = self.socket.query_params.get("mode", "full")
        if mode != "full":
            raise Bad("bad_request", f"mode {mode!r} is not offered; only full is")
        self._lines: deque[dict[str, Any]] = deque(maxlen=_LINES)
        await self.send({"type": "config", "useAudioWorklet": True, "mode": mode})
        return Audio(language=self.socket.query_params.get("language") or None), 0

    async def heard(self, session: Session, message: dict[str, Any]) -> None:
        """See `Conversation`."""
        data = message.get("bytes")
        if data:
            await self.listen(session, data)
        elif data is not None:
            self.hub.end(session)

    async def say(self, session: Session, message: ipc.Message) -> bool:
        """See `Conversation`."""
        match message:
            case ipc.Partial():
                await self._update(session, message.text)
            case ipc.Final():
                span = {"start": _clock(message.start), "end": _clock(message.end)}
                self._lines.append({"speaker": 1, "text": message.text, **span})
                await self._update(session, "")
            case ipc.Done():
                await self.send({"type": "ready_to_stop"})
                await self.close(1000)
                return True
            case ipc.Fault():
                await self._error(message.reason)
                await self.close(CLOSE_CODES.get(message.code, 1011))
                return True
        return False

    async def _update(self, session: Session, buffer: str) -> None:
        await self.send(
            {
                "status": "active_transcription",
                "lines": list(self._lines),
                "buffer_transcription": buffer,
                "buffer_diarization": "",
                "buffer_translation": "",
                "remaining_time_transcription": round(session.lag_s, 2),
                "remaining_time_diarization": 0,
            }
        )

    async def _error(self, message: str) -> None:
        await self.send({"type": "error", "error": message})

    async def refuse(self, refusal: Refused) -> None:
        """See `Conversation`."""
        await self._error(refusal.message)
        await self.close(1013, refusal.message)

    async def complain(self, bad: Bad) -> None:
        """See `Conversation`. 4400 is WhisperLiveKit's own code for bad parameters."""
        await self._error(bad.message)
        await self.close(4400, bad.message)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
