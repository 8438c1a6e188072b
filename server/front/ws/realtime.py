"""OpenAI's Realtime protocol for transcription, at `/v1/realtime`: the GA event names, of which clients use these.

Deltas only ever append, so they carry what has become stable; the rest comes with the final. With `turn_detection`
(the default) each utterance is an item; with `turn_detection: null` an item is what the client commits.
"""

import base64
import binascii
import itertools
import secrets
from typing import Any

import msgspec

from server import ipc
from server.encodings import MAX_RATE, MIN_RATE
from server.front.hub import Refused
from server.front.session import Audio, Session
from server.front.ws.base import CLOSE_CODES, Bad, Conversation

DEFAULT_RATE = 24000
_FORMATS = {"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw"}


class Format(msgspec.Struct):
    """What the audio is."""

    type: str = "audio/pcm"
    rate: int | None = None


class Transcription(msgspec.Struct):
    """What is wanted of it; the model is the server's own."""

    language: str | None = None


class Input(msgspec.Struct):
    """`session.audio.input`."""

    format: Format = msgspec.field(default_factory=Format)
    transcription: Transcription | None = None
    turn_detection: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


class AudioPart(msgspec.Struct):
    """`session.audio`."""

    input: Input = msgspec.field(default_factory=Input)


class Asked(msgspec.Struct):
    """`session`, as far as it matters here."""

    audio: AudioPart = msgspec.field(default_factory=AudioPart)


class Event(msgspec.Struct):
    """An event of the client."""

    type: str
    event_id: str | None = None
    session: Asked | None = None
    audio: str | None = None


_decode = msgspec.json.Decoder(Event).decode


class RealtimeConnection(Conversation):
    """One Realtime client."""

    async def hello(self) -> tuple[Audio, int]:
        """See `Conversation`. Audio that comes before any `session.update` is taken as the default format."""
        self._session_id = f"sess_{self.id}"
        self._events = itertools.count(1)
        self._input = Input()
        self._pending: Event | None = None
        self._item: str | None = None
        self._previous: str | None = None
        self._segment = -1
        self._sent = 0
        self._finals: list[ipc.Final] = []
        self._committed: list[str] = []
        self._updated = False
        await self._emit("session.created", session=self._described())
        while not self._begun:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                raise Bad("bad_request", "the client left before it said what it wants")
            await self._before(message)
        given = self._input.transcription
        encoding, rate = _FORMATS[self._input.format.type], self._rate()
        return Audio(rate, encoding, given.language if given else None), 0

    async def _before(self, message: Any) -> None:  # noqa: ANN401  # an ASGI message
        """Read one event before the stream begins."""
        try:
            event = self._read_event(message)
            if event.type == "session.update":
                self._configure(event)
                self._updated = True
            else:
                self._pending = event
        except Bad as bad:
            await self._error(bad)

    @property
    def _begun(self) -> bool:
        return self._updated or self._pending is not None

    def _rate(self) -> int:
        form = self._input.format
        return form.rate or (8000 if form.type == "audio/pcmu" else DEFAULT_RATE)

    def _configure(self, event: Event) -> None:
        asked = (event.session or Asked()).audio.input
        form = asked.format
        if form.type not in _FORMATS or not MIN_RATE <= (form.rate or DEFAULT_RATE) <= MAX_RATE:
            raise Bad("bad_request", f"the format {form.type} at {form.rate} is not taken; say audio/pcm at 24000")
        self._input = asked

    def _read_event(self, message: Any) -> Event:  # noqa: ANN401  # an ASGI message
        try:
            return _decode(message.get("text") or message.get("bytes") or b"")
        except msgspec.DecodeError as error:
            raise Bad("bad_json", f"cannot read the event: {error}") from error

    def _described(self) -> dict[str, Any]:
        given = self._input.transcription
        form = {"type": self._input.format.type, "rate": self._rate()}
        wanted = {"model": self.hub.settings.model, "language": given.language if given else None}
        turns = None if self._input.turn_detection is None else {"type": "server_vad"}
        audio = {"input": {"format": form, "transcription": wanted, "turn_detection": turns}}
        return {
            "id": self._session_id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": audio,
        }

    @property
    def _manual(self) -> bool:
        return self._input.turn_detection is None

    # --- from the client ----------------------------------------------------------------------------

    async def ready(self, session: Session) -> None:
        """See `Conversation`."""
        if self._updated:
            await self._emit("session.updated", session=self._described())
        if self._pending is not None:
            await self._obey(session, self._pending)

    async def heard(self, session: Session, message: dict[str, Any]) -> None:
        """See `Conversation`. What cannot be understood is answered with an error; the stream goes on."""
        try:
            await self._obey(session, self._read_event(message))
        except Bad as bad:
            await self._error(bad)

    async def _obey(self, session: Session, event: Event) -> None:
        match event.type:
            case "input_audio_buffer.append":
                await self.listen(session, _decoded(event.audio))
            case "input_audio_buffer.commit":
                await self._commit(session)
            case "session.update":
                before = self._input
                self._configure(event)
                if (self._input.format.type, self._rate()) != (before.format.type, session.audio.sample_rate):
                    self._input = before
                    raise Bad("bad_request", "the audio format cannot change once audio has come")
                await self._emit("session.updated", session=self._described())
            case _:
                raise Bad("bad_request", f"events of type {event.type!r} are not taken")

    async def _commit(self, session: Session) -> None:
        if self._manual:
            previous = self._committed[-1] if self._committed else self._previous
            item, self._item = self._item or _new_item(), None
            self._committed.append(item)
            await self._emit("input_audio_buffer.committed", item_id=item, previous_item_id=previous)
        self.hub.flush(session)

    def _begin(self) -> str:
        """The item that text belongs to now: the oldest that was committed and has not all its text, else the next."""
        if self._committed:
            return self._committed[0]
        if self._item is None:
            self._item = _new_item()
        return self._item

    # --- to the client ------------------------------------------------------------------------------

    async def say(self, session: Session, message: ipc.Message) -> bool:  # noqa: ARG002  # the dialect's hook
        """See `Conversation`."""
        match message:
            case ipc.Partial():
                await self._started(message.segment, message.start)
                await self._delta(message.text[: message.stable_chars])
            case ipc.Final():
                await self._started(message.segment, message.start)
                await self._delta(message.text)
                self._finals.append(message)
                self._sent = 0
                if not self._manual:
                    await self._emit(
                        "input_audio_buffer.speech_stopped",
                        audio_end_ms=round(message.end * 1000),
                        item_id=self._begin(),
                    )
                    item, previous = self._begin(), self._previous
                    await self._emit("input_audio_buffer.committed", item_id=item, previous_item_id=previous)
                    await self._complete()
                    self._item = None
            case ipc.Flushed() if self._manual and self._committed:
                await self._complete()
                self._committed.pop(0)
            case ipc.Fault():
                await self._error(Bad(message.code, message.reason))
                await self.close(CLOSE_CODES.get(message.code, 1011))
                return True
        return False

    async def _started(self, segment: int, start: float) -> None:
        if segment == self._segment:
            return
        self._segment, self._sent = segment, 0
        item = self._begin()
        if self._manual:
            if self._finals:
                await self._text(" ")
        else:
            await self._emit("input_audio_buffer.speech_started", audio_start_ms=round(start * 1000), item_id=item)

    async def _delta(self, text: str) -> None:
        new, self._sent = text[self._sent :], max(self._sent, len(text))
        if new:
            await self._text(new)

    async def _text(self, delta: str) -> None:
        kind = "conversation.item.input_audio_transcription.delta"
        await self._emit(kind, item_id=self._begin(), content_index=0, delta=delta)

    async def _complete(self) -> None:
        item, transcript = self._begin(), " ".join(final.text for final in self._finals)
        content = [{"type": "input_audio", "transcript": None}]
        added = {"id": item, "type": "message", "status": "completed", "role": "user", "content": content}
        await self._emit("conversation.item.added", previous_item_id=self._previous, item=added)
        # Of speech: what was silent is not decoded either.
        seconds = round(sum(final.end - final.start for final in self._finals), 3)
        await self._emit(
            "conversation.item.input_audio_transcription.completed",
            item_id=item,
            content_index=0,
            transcript=transcript,
            usage={"type": "duration", "seconds": seconds},
        )
        self._previous, self._finals = item, []

    async def _emit(self, kind: str, **fields: Any) -> None:  # noqa: ANN401  # whatever JSON holds
        await self.send({"type": kind, "event_id": f"event_{next(self._events)}", **fields})

    async def _error(self, bad: Bad, event_id: str | None = None) -> None:
        kind = "server_error" if bad.code == "server_fault" else "invalid_request_error"
        error = {"type": kind, "code": bad.code, "message": bad.message, "param": None, "event_id": event_id}
        await self._emit("error", error=error)

    async def refuse(self, refusal: Refused) -> None:
        """See `Conversation`."""
        await self._error(Bad(refusal.code, refusal.message))
        await self.close(1013, refusal.message)

    async def complain(self, bad: Bad) -> None:
        """See `Conversation`."""
        await self._error(bad)
        await self.close(CLOSE_CODES[bad.code], bad.message)


def _new_item() -> str:
    return f"item_{secrets.token_hex(8)}"


def _decoded(audio: str | None) -> bytes:
    try:
        return base64.b64decode(audio or "", validate=True)
    except binascii.Error as error:
        raise Bad("bad_audio", f"the audio is no base64: {error}") from error
