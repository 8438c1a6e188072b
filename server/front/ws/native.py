"""`/ws`: the native protocol. Accept first, then allocate, then wait for the model; each step is told as it happens."""

import asyncio
import logging
import secrets
from typing import Any

import msgspec
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from server import ipc
from server.encodings import BYTES_PER_SAMPLE, MAX_RATE, MIN_RATE
from server.front.clock import now
from server.front.hub import Hub, Refused
from server.front.session import Audio, Session
from whisper_ops import wire

log = logging.getLogger("whisper_ops.server")

CLOSE_CODES = {
    "no_capacity": 1013,
    "draining": 1013,
    "drained": 1001,
    "lagging": 1013,
    "too_many_connections": 1013,
    "overloaded": 1013,
    "bad_request": 1003,
    "bad_audio": 1003,
    "bad_json": 1007,
    "idle_timeout": 1001,
    "session_timeout": 1001,
    "gpu_failed": 1011,
    "server_fault": 1011,
}


class Bad(Exception):  # noqa: N818  # it becomes a message and a close code, not a traceback
    """The client said something that cannot be understood."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Said(msgspec.Struct):
    """A text message of the client."""

    type: str


_decode_said = msgspec.json.Decoder(Said).decode


class NativeConnection:
    """One client of `/ws`."""

    def __init__(self, hub: Hub, socket: WebSocket) -> None:
        self._hub, self._socket = hub, socket
        self._began = now()
        self._id = secrets.token_hex(6)

    def _elapsed_ms(self) -> float:
        return round((now() - self._began) * 1000, 1)

    async def _send(self, **message: Any) -> None:  # noqa: ANN401  # whatever JSON holds
        await self._socket.send({"type": "websocket.send", "text": wire.encode(message).decode()})

    # --- life ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until one side ends it."""
        hub, socket = self._hub, self._socket
        address = socket.client.host if socket.client else ""
        admitted = False
        try:
            if hub.settings.when_full == "503":
                hub.admit(self._id, address, socket.query_params.get("ticket"))
                admitted = True
        except Refused as refusal:
            await self._deny(refusal)
            return
        subprotocol = "bearer" if "bearer" in socket.scope.get("subprotocols", []) else None
        await socket.accept(subprotocol)
        log.info("Connection %s: WebSocket accepted (%.0fms)", self._id, self._elapsed_ms())
        try:
            await self._converse(address, admitted=admitted)
        except Refused as refusal:
            log.info("Connection %s: refused, %s", self._id, refusal.code)
            await self._fail(refusal.code, refusal.message, retry_after_s=refusal.retry_after_s)
        except Bad as bad:
            await self._fail(bad.code, bad.message)
        finally:
            hub.leave_unopened(self._id)

    async def _deny(self, refusal: Refused) -> None:
        body = {"type": "error", "code": refusal.code, "message": refusal.message}
        headers = {"Retry-After": f"{refusal.retry_after_s:.0f}"}
        await self._socket.send_denial_response(JSONResponse(body, 503, headers))

    async def _converse(self, address: str, *, admitted: bool) -> None:
        query = self._socket.query_params
        await self._status("connected", "Connected")
        audio, offset = read_audio(dict(query)), _whole(query.get("offset", "0"), "offset")
        if (token := query.get("resume")) and (known := self._hub.resume(token, offset)):
            self._id = known.connection_id
            log.info("Connection %s: resumed", self._id)
            await self._serve(known)
            return
        await self._status("allocating_gpu", "Allocating GPU…")
        began = now()
        if not admitted:
            self._hub.admit(self._id, address, query.get("ticket"))
        gpu_id = self._hub.slots.gpu_of(self._id)
        assert gpu_id is not None
        took = (now() - began) * 1000
        log.info("Allocated GPU %d to connection %s (%.0fms)", gpu_id, self._id, took)
        await self._status("loading_model", f"Loading models on GPU {gpu_id}…", gpu_id)
        await self._hub.wait_ready(self._id)
        log.info("Connection %s: TranscriptionEngine loaded (%.0fms)", self._id, self._elapsed_ms())
        session = self._hub.open(self._id, audio, address=address, offset=offset)
        self._hub.stats.setup_ms.add(self._elapsed_ms())
        await self._serve(session)

    async def _status(self, state: str, message: str, gpu_id: int | None = None) -> None:
        extra = {} if gpu_id is None else {"gpu_id": gpu_id}
        await self._send(type="status", state=state, message=message, elapsed_ms=self._elapsed_ms(), **extra)

    async def _serve(self, session: Session) -> None:
        outbox = session.outbox
        try:
            await self._send(
                type="ready",
                connection_id=session.connection_id,
                gpu_id=session.gpu_id,
                setup_time_ms=self._elapsed_ms(),
                resume_token=session.resume_token,
                received_samples=session.received_samples,
            )
            writer = asyncio.create_task(self._write(session))
            try:
                clean = await self._read(session)
            except Bad as bad:
                session.break_off(bad.code, bad.message)
                clean = True
                await writer
            finally:
                writer.cancel()
        except BaseException:
            # A send into a socket that is gone ends here, as does our own shutdown.
            self._park_or_close(session, outbox, clean=False)
            raise
        self._park_or_close(session, outbox, clean=clean)

    def _park_or_close(self, session: Session, outbox: object, *, clean: bool) -> None:
        if session.outbox is not outbox:
            return  # the client came back over another socket while this one was still dying
        if clean or session.done or not self._hub.settings.resume_seconds:
            self._hub.close(session, failed=isinstance(session.last, ipc.Fault) and not clean)
        else:
            self._hub.park(session)

    # --- from the client ----------------------------------------------------------------------------

    async def _read(self, session: Session) -> bool:
        """Take what the client sends until it is gone. Whether it left cleanly."""
        width = BYTES_PER_SAMPLE[session.audio.encoding]
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                # uvicorn gives a reason only with a close frame; a dropped connection has none.
                return "reason" in message
            if session.done:
                continue
            data = message.get("bytes")
            if data is not None:
                if len(data) % width:
                    raise Bad("bad_audio", f"{len(data)} bytes are no whole number of {session.audio.encoding} samples")
                if not session.ended:
                    self._hub.hear(session, data)
                    await self._hub.room(session)
                continue
            self._command(session, message.get("text") or "")

    def _command(self, session: Session, text: str) -> None:
        try:
            said = _decode_said(text)
        except msgspec.DecodeError as error:
            raise Bad("bad_json", f"cannot read the message: {error}") from error
        if said.type == "flush":
            self._hub.flush(session)
        elif said.type == "end":
            self._hub.end(session)
        else:
            raise Bad("bad_request", f"there is no message of type {said.type!r}; say flush or end")

    # --- to the client ------------------------------------------------------------------------------

    async def _write(self, session: Session) -> None:
        outbox = session.outbox
        while (message := await outbox.get()) is not None:
            match message:
                case ipc.Partial():
                    await self._send(**partial(message, session.lag_s))
                case ipc.Final():
                    await self._send(**final(message))
                case ipc.Done():
                    await self._send(type="done", audio_s=round(message.audio_s, 3), segments=message.segments)
                    await self._close(1000)
                    return
                case ipc.Fault():
                    await self._fail(message.code, message.reason)
                    return
                case ipc.Draining():
                    await self._send(type="draining", **_drain(message))

    async def _fail(self, code: str, message: str, **extra: float) -> None:
        await self._send(type="error", code=code, message=message, **extra)
        await self._close(CLOSE_CODES.get(code, 1011), message)

    async def _close(self, code: int, reason: str = "") -> None:
        # A close frame holds at most 123 bytes of reason.
        await self._socket.close(code, reason.encode()[:120].decode(errors="ignore"))


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
    }
    if message.words is not None:
        fields["words"] = message.words
    return fields


def _drain(message: ipc.Draining) -> dict[str, Any]:
    fields: dict[str, Any] = {"deadline_s": round(message.deadline_s, 1)}
    return fields | ({"reconnect_url": message.reconnect_url} if message.reconnect_url else {})


def read_audio(query: dict[str, str]) -> Audio:
    """What the query string says of the audio.

    Raises:
        Bad: an encoding or a rate that is not taken.
    """
    encoding = query.get("encoding", "pcm_s16le")
    if encoding not in BYTES_PER_SAMPLE:
        raise Bad("bad_request", f"encoding {encoding!r} is not known; say {', '.join(BYTES_PER_SAMPLE)}")
    rate = _whole(query.get("sample_rate", "16000"), "sample_rate")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise Bad("bad_request", f"sample_rate {rate} is not between {MIN_RATE} and {MAX_RATE}")
    return Audio(rate, encoding, query.get("language") or None, query.get("words", "").lower() in ("1", "true"))


def _whole(text: str, name: str) -> int:
    if not text.isdecimal():
        raise Bad("bad_request", f"{name} {text!r} is not a whole number")
    return int(text)
