"""What every dialect shares: accept, allocate, wait for the model, then listen and answer until one side ends it.

A dialect says how it greets, how it reads a message, and how it words what a worker heard. Accepting comes first, then
allocation, then loading; each step is told to the client as it happens, in dialects that have a word for it.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from server import ipc
from server.auth import subprotocol
from server.connections import budgets
from server.connections.budgets import ConnectionBudget
from server.languages import LanguageError
from server.request_parsing import UnreadableError, check_names
from server.sessions import limits
from server.sessions.clock import now
from server.sessions.hub import AdmissionRefused, Hub
from server.sessions.session import AudioRequest, Outbox, Session
from whisper_ops import wire

log = logging.getLogger("whisper_ops.server")

CLOSE_CODES = {
    "no_capacity": 1013,
    "draining": 1013,
    "drained": 1001,
    "lagging": 1013,
    "too_many_connections": 1013,
    "overloaded": 1013,
    "too_many_messages": 1008,
    "bad_request": 1003,
    "bad_audio": 1003,
    "bad_json": 1007,
    "idle_timeout": 1001,
    "session_timeout": 1001,
    "gpu_failed": 1011,
    "server_fault": 1011,
}

HANDSHAKE_SECONDS = 30.0
"""A client has so long to say what it wants. Until then it holds no slot, but a file descriptor."""
_EARLY_BYTES = 1 << 20
"""So much is kept of what a client says while its model loads; then its socket is no longer read."""


class ProtocolError(Exception):  # it becomes a message and a close code, not a traceback
    """The client said something that cannot be understood, or asked for something that is not offered."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def protocol_error(error: UnreadableError, what: str = "") -> ProtocolError:
    """The complaint about something unreadable."""
    message = f"{what}: {error}" if what else str(error)
    return ProtocolError("bad_json" if error.malformed else "bad_request", message, error.param)


def upgrade_headers(hub: Hub, connection_id: str) -> list[tuple[bytes, bytes]]:
    """Who answered, for clients of any dialect: behind a balancer nobody else can tell them."""
    told = {wire.SERVER_HEADER: hub.server_id, wire.GPUS_HEADER: str(len(hub.slots.gpus))}
    told[wire.CONNECTION_HEADER] = connection_id
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in told.items()]


class _ClientLeft(Exception):  # noqa: N818  # it is the client's right
    """The client left before its stream began."""


class ClientConnection:
    """One client. Subclasses are the dialects."""

    resumable = False
    """Whether a client of this dialect can come back after a drop, and say that it is there while it is silent."""
    parameters: frozenset[str] | None = None
    """Query parameters that mean something; another one is refused. None: the original reads none."""

    def __init__(self, hub: Hub, socket: WebSocket) -> None:
        self.hub, self.socket = hub, socket
        self.id = secrets.token_hex(6)
        self.address = socket.client.host if socket.client else ""
        self._began = now()
        self._admitted = False
        self._ticket = socket.query_params.get("ticket")
        self._early_messages: deque[dict[str, Any]] = deque()
        """What the client said while its model was loading."""
        self._outbox: Outbox | None = None
        self._messages, self._short_messages = (
            ConnectionBudget(budgets.SILENT_MESSAGES),
            ConnectionBudget(budgets.SHORT_MESSAGES),
        )
        self._audio_seconds = ConnectionBudget(budgets.SOUND)
        self._handled = 0

    @property
    def elapsed_ms(self) -> float:
        """Since the connection began."""
        return round((now() - self._began) * 1000, 1)

    async def send(self, message: Any) -> None:  # noqa: ANN401  # whatever JSON holds
        """Send a JSON message."""
        await self.socket.send({"type": "websocket.send", "text": wire.encode(message).decode()})

    async def close(self, code: int, reason: str = "") -> None:
        """Close; a close frame holds at most 123 bytes of reason."""
        await self.socket.close(code, reason.encode()[:120].decode(errors="ignore"))

    # --- what a dialect says ------------------------------------------------------------------------

    async def handshake(self) -> tuple[AudioRequest, int]:
        """Say hello and learn what audio comes, and from which sample.

        Raises:
            ProtocolError: it is none that is taken.
        """
        raise NotImplementedError

    async def send_status(self, state: str, message: str, gpu_id: int | None = None) -> None:
        """A step is taken. Most dialects have no word for it."""

    async def send_ready(self, session: Session) -> None:
        """The stream may begin."""

    async def handle_message(self, session: Session, message: dict[str, Any]) -> None:
        """Take one message of the client: pass on its audio, or do what it says."""
        raise NotImplementedError

    async def send_event(self, session: Session, message: ipc.Message) -> bool:
        """Tell the client what came out of its stream. True: that was the last word, and the socket is closed."""
        raise NotImplementedError

    async def send_refusal(self, refusal: AdmissionRefused) -> None:
        """There is no slot."""
        raise NotImplementedError

    async def send_error(self, error: ProtocolError) -> None:
        """The client cannot be understood, before its stream began."""
        raise NotImplementedError

    # --- life ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until one side ends it. One that is gone in the middle of our sentence is no fault."""
        try:
            await self._run()
        except WebSocketDisconnect:
            log.info("Connection %s: left before it was told all", self.id)

    async def _run(self) -> None:
        try:
            # A client that comes back has its slot.
            if self.hub.settings.when_full == "503" and self._resumed_session() is None:
                self._admit()
        except AdmissionRefused as refusal:
            await self._deny_upgrade(refusal)
            return
        chosen = subprotocol(self.socket.scope.get("subprotocols", []))
        try:
            await self.socket.accept(chosen, upgrade_headers(self.hub, self.id))
            log.info("Connection %s: WebSocket accepted (%.0fms)", self.id, self.elapsed_ms)
            await self._open_stream()
        except AdmissionRefused as refusal:
            await self.send_refusal(refusal)
        except ProtocolError as complaint:
            await self.send_error(complaint)
        except _ClientLeft:
            log.info("Connection %s: left before it was ready", self.id)
        except WebSocketDisconnect:
            log.info("Connection %s: the client is gone", self.id)
        except LanguageError as error:
            await self.send_error(ProtocolError("bad_request", str(error), "language"))
        except UnreadableError as error:
            await self.send_error(protocol_error(error))
        finally:
            self.hub.admission.use_ticket(self._ticket)
            self.hub.release_unopened(self.id)

    def _resumed_session(self) -> Session | None:
        """The session that the client comes back to; None when it is a new one."""
        token = self.socket.query_params.get("resume") if self.resumable else None
        return self.hub.resumable(token) if token else None

    def _admit(self) -> None:
        if not self._admitted:
            self.hub.admit(self.id, self.address, self._ticket)
            self._admitted = True

    async def _deny_upgrade(self, refusal: AdmissionRefused) -> None:
        body = {"type": "error", "code": refusal.code, "message": refusal.message}
        headers = {"Retry-After": f"{refusal.retry_after_s:.0f}"}
        await self.socket.send_denial_response(JSONResponse(body, 503, headers))

    async def _open_stream(self) -> None:
        if self.parameters is not None:
            check_names(self.socket.query_params, self.parameters | self.hub.settings.routing_parameters)
        # Whoever was let in before the upgrade holds a slot already, as if by a ticket.
        seconds = min(HANDSHAKE_SECONDS, self.hub.settings.ticket_seconds) if self._admitted else HANDSHAKE_SECONDS
        try:
            audio, offset = await asyncio.wait_for(self.handshake(), seconds)
        except TimeoutError as error:
            raise ProtocolError("idle_timeout", f"no first message for {seconds:g} s") from error
        idle_seconds = self._idle_seconds()
        token = self.socket.query_params.get("resume", "")
        if self._resumed_session() is not None and (known := self.hub.resume(token, offset)):
            self.hub.admission.use_ticket(self._ticket)
            self.hub.release_unopened(self.id)
            self.id = known.connection_id
            known.idle_seconds = idle_seconds
            log.info("Connection %s: resumed", self.id)
            await self._serve(known)
            return
        await self._allocate()
        session = self.hub.open(self.id, audio, address=self.address, offset=offset)
        session.idle_seconds = idle_seconds
        self.hub.counters.set_up(self.elapsed_ms)
        await self._serve(session)

    def _idle_seconds(self) -> float:
        asked = self.socket.query_params.get("idle")
        try:
            return limits.idle_seconds(asked, self.hub.settings, keeps_alive=self.resumable)
        except ValueError as error:
            raise ProtocolError("bad_request", str(error)) from error

    async def _allocate(self) -> None:
        await self.send_status("allocating_gpu", "Allocating GPU…")
        began = now()
        self._admit()
        gpu_id = self.hub.slots.gpu_of(self.id)
        assert gpu_id is not None
        elapsed_ms = (now() - began) * 1000
        # Two forms of one fact: people grep for either.
        log.info("Allocated GPU %d to connection %s (%.0fms)", gpu_id, self.id, elapsed_ms)
        log.info("Connection %s: GPU %d allocated (%.0fms)", self.id, gpu_id, elapsed_ms)
        await self.send_status("loading_model", f"Loading models on GPU {gpu_id}…", gpu_id)
        await self._wait_for_model(gpu_id)
        log.info("Connection %s: TranscriptionEngine loaded (%.0fms)", self.id, self.elapsed_ms)

    async def _wait_for_model(self, gpu_id: int) -> None:
        """Wait for the model. A client that leaves meanwhile gives its slot back at once.

        Raises:
            AdmissionRefused: the GPU failed, and no other has room.
            _ClientLeft: the client did not wait.
        """
        if self.hub.worker_is_ready(gpu_id):
            return
        ready, leaving = (
            asyncio.create_task(self.hub.wait_ready(self.id)),
            asyncio.create_task(self._wait_for_disconnect()),
        )
        try:
            await asyncio.wait({ready, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise _ClientLeft
            await ready
        finally:
            ready.cancel()
            leaving.cancel()
            await asyncio.wait({ready, leaving})

    async def _wait_for_disconnect(self) -> None:
        """Return when the client is gone; what it says before is kept for later."""
        size = 0
        while size < _EARLY_BYTES:
            message = dict(await self.socket.receive())
            if message["type"] == "websocket.disconnect":
                self._early_messages.append(message)
                return
            size += len(message.get("bytes") or message.get("text") or "") + 64
            self._early_messages.append(message)
        await asyncio.Event().wait()

    async def _receive(self) -> dict[str, Any]:
        return self._early_messages.popleft() if self._early_messages else dict(await self.socket.receive())

    async def _serve(self, session: Session) -> None:
        if (slot_taken := self.socket.scope["extensions"].get("whisper_ops.slot_taken")) is not None:
            slot_taken()
        outbox = self._outbox = session.outbox
        clean = False
        try:
            await self.send_ready(session)
            log.info("Connection %s: Ready to transcribe (%.0fms)", self.id, self.elapsed_ms)
            writer = asyncio.create_task(self._write_events(session))
            try:
                clean = await self._read_messages(session)
            except ProtocolError as complaint:
                session.fail(complaint.code, complaint.message)
                clean = True
                await writer
            finally:
                writer.cancel()
        finally:
            # A send into a socket that is gone ends here too, as does our own shutdown.
            self._park_or_close(session, outbox, clean=clean)

    def _park_or_close(self, session: Session, outbox: Outbox, *, clean: bool) -> None:
        if session.outbox is not outbox:
            return  # the client came back over another socket while this one was still dying
        if self.resumable and not clean and not session.done and self.hub.settings.resume_seconds:
            self.hub.park(session)
        else:
            self.hub.close(session, failed=not clean and not session.done)

    async def _read_messages(self, session: Session) -> bool:
        """Take what the client sends until it is gone. Whether it left cleanly."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                # uvicorn gives a reason only with a close frame; a dropped connection has none.
                return "reason" in message
            if session.outbox is not self._outbox:
                await self._close_superseded()
                return False
            before = session.received_s
            if self._owns_stream(session):
                session.last_message_at = now()
                await self.handle_message(session, message)
            await self._charge_message(session.received_s - before)

    async def _charge_message(self, sound_s: float) -> None:
        """A message was handled. What one read brought may be many: others have their turn between them.

        Raises:
            ProtocolError: there were too many that brought no sound.
        """
        if not sound_s and not self._messages.take(1, now()):
            self.hub.connection_limits.flooded["messages"] += 1
            most = budgets.SILENT_MESSAGES[0]
            raise ProtocolError("too_many_messages", f"too many messages without sound; at most {most:.0f} a second")
        if sound_s < budgets.SHORT_SECONDS:
            self._short_messages.take(1, now())
        self._handled += 1
        wait = self._short_messages.wait(now())
        if wait or self._handled % budgets.MESSAGES_IN_A_TURN == 0:
            await asyncio.sleep(wait)

    def _owns_stream(self, session: Session) -> bool:
        """Whether what this socket brings still belongs to the stream: it may have gone on over another one."""
        return not session.done and session.outbox is self._outbox

    async def _write_events(self, session: Session) -> None:
        outbox = session.outbox
        with contextlib.suppress(WebSocketDisconnect):  # whoever reads notices, too
            while (message := await outbox.get()) is not None:
                if await self.send_event(session, message):
                    return
            if session.outbox is not outbox:
                await self._close_superseded()

    async def _close_superseded(self) -> None:
        with contextlib.suppress(RuntimeError):  # it may be closed already
            await self.close(1001, "The stream goes on over another connection")

    async def receive_audio(self, session: Session, data: bytes) -> None:
        """Pass on audio, and wait when the stream is too far behind. A message may end within a sample."""
        for piece in limits.split_audio(session.whole_samples(data), session.audio):
            if wait := self._audio_seconds.wait(now()):
                await asyncio.sleep(wait)
            await limits.back_pressure(session, self.hub.counters)
            if session.ended or not self._owns_stream(session):
                return
            before = session.received_s
            self.hub.receive_audio(session, piece)
            self._audio_seconds.take(session.received_s - before, now())
        await limits.back_pressure(session, self.hub.counters)
