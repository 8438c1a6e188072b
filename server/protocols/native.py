"""`/ws`: the native protocol."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from server import ipc
from server.audio_formats import BYTES_PER_SAMPLE, MAX_RATE, MIN_RATE
from server.languages import LanguageError
from server.protocols.client_connection import ClientConnection
from server.protocols.protocol_errors import CLOSE_CODES, ProtocolError, protocol_error
from server.request_parsing import UnreadableError, flag, read_json, whole
from server.sessions.audio_request import AudioRequest
from server.sessions.refusals import AdmissionRefused
from server.sessions.session import Session


class ClientMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A text message of the client."""

    type: Literal["flush", "keepalive", "end", "language"]
    language: str | UnsetType | None = UNSET


LONGEST_SECONDS = 100 * 86400
"""No stream is longer: what is counted in samples stays exact in seconds."""


class NativeConnection(ClientConnection):
    """One client of `/ws`."""

    resumable = True
    parameters = frozenset(
        {"language", "sample_rate", "encoding", "words", "ticket", "resume", "offset", "idle", "token"}
    )

    async def handshake(self) -> tuple[AudioRequest, int]:
        await self.send_status("connected", "Connected")
        query = dict(self.socket.query_params)
        audio, offset = read_audio(query), whole(query.get("offset", "0"), "offset")
        if offset > LONGEST_SECONDS * audio.sample_rate:
            raise ProtocolError("bad_request", f"offset {offset} is beyond {LONGEST_SECONDS // 86400} days of audio")
        return audio, offset

    async def send_status(self, state: str, message: str, gpu_id: int | None = None) -> None:
        await self.send(status(state, message, self.elapsed_ms, gpu_id))

    async def send_ready(self, session: Session) -> None:
        await self.send(
            ready(
                session.connection_id,
                session.gpu_id,
                server_id=self.hub.server_id,
                total_gpus=len(self.hub.slots.gpus),
                setup_time_ms=self.elapsed_ms,
                resume_token=session.resume_token,
                received_samples=session.received_samples,
                language=self.hub.language_of(session),
            )
        )

    async def handle_message(self, session: Session, message: dict[str, Any]) -> None:
        data = message.get("bytes")
        if data is not None:
            await self.receive_audio(session, data)
            return
        try:
            command = read_json(message.get("text") or "", ClientMessage)
        except UnreadableError as error:
            raise protocol_error(error, "cannot read the message (flush, keepalive, language or end)") from error
        if (command.type == "language") != (command.language is not UNSET):
            raise ProtocolError("bad_request", "a message of type language has the field language, and no other has")
        if command.language is not UNSET:
            self._set_language(session, command.language)
        elif command.type == "flush":
            self.hub.flush(session)
        elif command.type == "end":
            await self._end(session)
        # A keepalive is a sign of life, as every message.

    def _set_language(self, session: Session, language: str | None) -> None:
        try:
            self.hub.set_language(session, language)
        except LanguageError as error:
            raise ProtocolError("bad_request", str(error), "language") from error

    async def _end(self, session: Session) -> None:
        if rest := session.dangling_bytes:
            message = f"the last {rest} bytes are not a whole {session.audio.encoding} sample and were dropped"
            await self.send({"type": "warning", "code": "bad_audio", "message": message})
        self.hub.end_audio(session)

    async def send_event(self, session: Session, message: ipc.Message) -> bool:
        match message:
            case ipc.Partial():
                await self.send(partial(message, session.lag_s))
            case ipc.Final():
                await self.send(final(message))
            case ipc.Undecoded():
                await self.send(undecoded(message))
            case ipc.DrainNotice():
                await self.send(draining(message))
            case ipc.Done():
                await self.send(done(message))
                await self.close(1000)
                return True
            case ipc.Fault():
                await self._fail(message.code, message.reason)
                return True
        return False

    async def send_refusal(self, refusal: AdmissionRefused) -> None:
        await self._fail(refusal.code, refusal.message, retry_after_s=refusal.retry_after_s)

    async def send_error(self, error: ProtocolError) -> None:
        await self._fail(error.code, error.message)

    async def _fail(self, code: str, message: str, **extra: float) -> None:
        await self.send(failed(code, message, **extra))
        await self.close(CLOSE_CODES.get(code, 1011), message)


def status(state: str, message: str, elapsed_ms: float, gpu_id: int | None = None) -> dict[str, Any]:
    """The JSON fields of a step."""
    fields = {"type": "status", "state": state, "message": message, "elapsed_ms": elapsed_ms}
    return fields if gpu_id is None else fields | {"gpu_id": gpu_id}


def ready(
    connection_id: str,
    gpu_id: int,
    *,
    server_id: str,
    total_gpus: int,
    setup_time_ms: float,
    resume_token: str,
    received_samples: int = 0,
    language: str | None = None,
) -> dict[str, Any]:
    """The JSON fields of the stream's beginning."""
    return {
        "type": "ready",
        "message": "Ready to transcribe",
        "connection_id": connection_id,
        "gpu_id": gpu_id,
        "server_id": server_id,
        "total_gpus": total_gpus,
        "setup_time_ms": setup_time_ms,
        "resume_token": resume_token,
        "received_samples": received_samples,
        "language": language,
    }


def failed(code: str, message: str, **extra: float) -> dict[str, Any]:
    """The JSON fields of an error."""
    return {"type": "error", "code": code, "message": message, **extra}


def done(message: ipc.Done) -> dict[str, Any]:
    """The JSON fields of the end."""
    return {"type": "done", "audio_s": round(message.audio_s, 3), "segments": message.segments}


def partial(message: ipc.Partial, lag_s: float) -> dict[str, Any]:
    """The JSON fields of a partial."""
    return {
        "type": "partial",
        "segment": message.segment,
        "text": message.text,
        "stable_chars": message.stable_chars,
        "start": round(message.start, 3),
        "end": round(message.end, 3),
        "lag_s": round(lag_s, 3),
    }


def final(message: ipc.Final) -> dict[str, Any]:
    """The JSON fields of a final."""
    fields: dict[str, Any] = {
        "type": "final",
        "segment": message.segment,
        "text": message.text,
        "start": round(message.start, 3),
        "end": round(message.end, 3),
        "language": message.language,
    }
    return fields if message.words is None else fields | {"words": message.words}


def undecoded(message: ipc.Undecoded) -> dict[str, Any]:
    """The JSON fields of a notice that speech has no text; the stream goes on."""
    start, end = round(message.start, 3), round(message.end, 3)
    fields = {"segment": message.segment, "start": start, "end": end}
    return {"type": "warning", "code": "decode_failed", "message": ipc.undecoded_sentence(message), **fields}


def draining(message: ipc.DrainNotice) -> dict[str, Any]:
    """The JSON fields of a notice that the server ends."""
    fields: dict[str, Any] = {"type": "draining", "deadline_s": round(message.deadline_s, 1)}
    return fields | ({"reconnect_url": message.reconnect_url} if message.reconnect_url else {})


def read_audio(query: dict[str, str]) -> AudioRequest:
    """What the query string says of the audio.

    Raises:
        ProtocolError: an encoding or a rate that is not taken.
        UnreadableError: a value of another kind.
        LanguageError: a language that nobody knows.
    """
    encoding = query.get("encoding", "pcm_s16le")
    if encoding not in BYTES_PER_SAMPLE:
        raise ProtocolError("bad_request", f"unknown encoding {encoding!r}; use {', '.join(BYTES_PER_SAMPLE)}")
    rate = whole(query.get("sample_rate", "16000"), "sample_rate")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ProtocolError("bad_request", f"sample_rate {rate} is not between {MIN_RATE} and {MAX_RATE}")
    return AudioRequest(rate, encoding, query.get("language"), flag(query.get("words", "false"), "words"))
