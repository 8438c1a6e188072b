"""OpenAI's Realtime protocol for transcription, at `/v1/realtime`: the GA event names, of which clients use these.

Deltas only ever append, so they carry what has become stable; the rest comes with the final. With `turn_detection`
(the default) each utterance is an item; with `turn_detection: null` an item is what the client commits.
"""

import itertools
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from server import ipc
from server.languages import LanguageError
from server.protocols.client_connection import ClientConnection
from server.protocols.protocol_errors import CLOSE_CODES, ProtocolError
from server.protocols.realtime_events import (
    AppendAudio,
    ClientEvent,
    CommitAudio,
    EventError,
    SessionOptions,
    SessionUpdate,
    audio_of,
    read_event,
)
from server.sessions.audio_request import AudioRequest
from server.sessions.hub import Hub
from server.sessions.refusals import AdmissionRefused
from server.sessions.session import Session

T = TypeVar("T")

_SHOWN_NAMES = {"format": "audio format", "rate": "sample rate", "detection": "turn detection"}


class RealtimeConnection(ClientConnection):
    """One Realtime client."""

    def __init__(self, hub: Hub, socket: WebSocket) -> None:
        super().__init__(hub, socket)
        self._session_id = f"sess_{self.id}"
        self._events = itertools.count(1)
        self._options = SessionOptions()
        self._first_event: ClientEvent | None = None
        """What the client began with."""
        self._item: str | None = None
        self._previous: str | None = None
        self._segment = -1
        self._sent = 0
        self._finals: list[ipc.Final] = []
        self._committed: list[str] = []

    async def handshake(self) -> tuple[AudioRequest, int]:
        """Audio that comes before any `session.update` is taken as the default format."""
        await self._emit("session.created", session=self._described())
        while self._first_event is None:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            await self._read_first_event(dict(message))
        options = self._options
        return AudioRequest(options.rate, options.encoding, options.language, turns=options.detection.turns()), 0

    async def _read_first_event(self, message: dict[str, Any]) -> None:
        """Read one event before the stream begins; one that is not served is answered, and the next one is awaited."""
        try:
            event = read_event(message)
            if isinstance(event, SessionUpdate):
                self._options = self._updated(event)
            elif isinstance(event, AppendAudio):
                self._with_event_id(event, lambda: audio_of(event))
            self._first_event = event
        except EventError as error:
            await self._send_error(error.reason, error.event_id)

    def _updated(self, event: SessionUpdate) -> SessionOptions:
        """The options after an update.

        Raises:
            EventError: something of it is not offered.
        """

        def update() -> SessionOptions:
            options = self._options.updated(event.session)
            self.hub.check_language(options.language)
            return options

        return self._with_event_id(event, update)

    @staticmethod
    def _with_event_id(event: ClientEvent, work: Callable[[], T]) -> T:
        try:
            return work()
        except ProtocolError as reason:
            raise EventError(reason, event.event_id) from reason
        except LanguageError as error:
            unknown = ProtocolError("bad_request", str(error), "session.audio.input.transcription.language")
            raise EventError(unknown, event.event_id) from error

    def _described(self) -> dict[str, Any]:
        return {
            "id": self._session_id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": self._options.described(self.hub.settings.model),
        }

    @property
    def _manual(self) -> bool:
        return self._options.manual

    # --- from the client ----------------------------------------------------------------------------

    async def send_ready(self, session: Session) -> None:
        first = self._first_event
        if isinstance(first, SessionUpdate):
            await self._emit("session.updated", session=self._described())
        elif first is not None:
            await self._handle_event(session, first)

    async def handle_message(self, session: Session, message: dict[str, Any]) -> None:
        """An event that is not served is answered with an error; the stream goes on."""
        try:
            await self._handle_event(session, read_event(message))
        except EventError as error:
            await self._send_error(error.reason, error.event_id)

    async def _handle_event(self, session: Session, event: ClientEvent) -> None:
        match event:
            case AppendAudio():
                await self.receive_audio(session, self._with_event_id(event, lambda: audio_of(event)))
            case CommitAudio():
                await self._commit(session)
            case SessionUpdate():
                options = self._updated(event)
                self._with_event_id(event, lambda: _check_change(self._options, options))
                if options.language != self._options.language:
                    self.hub.set_language(session, options.language)
                self._options = options
                await self._emit("session.updated", session=self._described())

    async def _commit(self, session: Session) -> None:
        if self._manual:
            previous = self._committed[-1] if self._committed else self._previous
            item, self._item = self._item or _new_item(), None
            self._committed.append(item)
            await self._emit("input_audio_buffer.committed", item_id=item, previous_item_id=previous)
        self.hub.flush(session)

    def _current_item(self) -> str:
        """The item of the text that comes next: the oldest committed one without all its text, else a new one."""
        if self._committed:
            return self._committed[0]
        if self._item is None:
            self._item = _new_item()
        return self._item

    # --- to the client ------------------------------------------------------------------------------

    async def send_event(self, session: Session, message: ipc.Message) -> bool:  # noqa: ARG002  # the protocol's hook
        match message:
            case ipc.Partial(text=""):
                await self._withdraw(message)
            case ipc.Partial():
                await self._started(message.segment, message.start)
                await self._delta(message.text[: message.stable_chars])
            case ipc.Final():
                await self._started(message.segment, message.start)
                await self._delta(message.text)
                self._finals.append(message)
                self._sent = 0
                if not self._manual:
                    await self._stopped(message.end)
                    await self._complete()
                    self._item = None
            case ipc.Undecoded():
                await self._failed(message)
            case ipc.Flushed() if self._manual and self._committed:
                await self._complete()
                self._committed.pop(0)
            case ipc.Fault():
                await self._send_error(ProtocolError(message.code, message.reason))
                await self.close(CLOSE_CODES.get(message.code, 1011), message.reason)
                return True
        return False

    async def _withdraw(self, message: ipc.Partial) -> None:
        """What was shown is no speech: its item ends without text, as OpenAI's do."""
        if not self._manual and message.segment == self._segment:
            await self._stopped(message.end)
            await self._complete()
            self._item, self._segment = None, -1

    async def _failed(self, message: ipc.Undecoded) -> None:
        """Speech has no text: send `failed` for its item, after whatever text there was."""
        item = (
            self._current_item() if self._manual or message.segment != self._segment else self._item or self._previous
        )
        if not self._manual and item != self._previous:
            await self._started(message.segment, message.start)
            await self._stopped(message.end)
            self._item, self._previous = None, item
            self._segment = -1  # the next text bears the same number
        error = {"type": "server_error", "code": "decode_failed", "message": ipc.undecoded_sentence(message)}
        kind = "conversation.item.input_audio_transcription.failed"
        await self._emit(kind, item_id=item, content_index=0, error={**error, "param": None})

    async def _stopped(self, end: float) -> None:
        item = self._current_item()
        await self._emit("input_audio_buffer.speech_stopped", audio_end_ms=round(end * 1000), item_id=item)
        await self._emit("input_audio_buffer.committed", item_id=item, previous_item_id=self._previous)

    async def _started(self, segment: int, start: float) -> None:
        if segment == self._segment:
            return
        self._segment, self._sent = segment, 0
        item = self._current_item()
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
        await self._emit(kind, item_id=self._current_item(), content_index=0, delta=delta)

    async def _complete(self) -> None:
        item, transcript = self._current_item(), " ".join(final.text for final in self._finals)
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

    async def _send_error(self, error: ProtocolError, event_id: str | None = None) -> None:
        kind = "server_error" if error.code == "server_fault" else "invalid_request_error"
        fields = {"type": kind, "code": error.code, "message": error.message, "param": error.param}
        await self._emit("error", error={**fields, "event_id": event_id})

    async def send_refusal(self, refusal: AdmissionRefused) -> None:
        await self._send_error(ProtocolError(refusal.code, refusal.message))
        await self.close(1013, refusal.message)

    async def send_error(self, error: ProtocolError) -> None:
        await self._send_error(error)
        await self.close(CLOSE_CODES[error.code], error.message)


def _new_item() -> str:
    return f"item_{secrets.token_hex(8)}"


def _check_change(before: SessionOptions, after: SessionOptions) -> None:
    """Whether these options can change while the stream runs.

    Raises:
        ProtocolError: the worker decodes by the first already.
    """
    for name in ("format", "rate", "detection"):
        if getattr(before, name) != getattr(after, name):
            raise ProtocolError("bad_request", f"the {_SHOWN_NAMES[name]} cannot change once the stream has begun")
