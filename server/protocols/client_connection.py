"""A client's WebSocket, whatever its protocol: accept, reserve a slot, wait for the model, stream, close.

A protocol is a subclass that says how a stream is asked for, how messages are read and how events are written. Each
step is sent to the client as it happens, where its protocol has a message for it.
"""

import asyncio
import contextlib
import logging
import secrets
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from server import ipc
from server.auth import subprotocol
from server.connections.while_connected import while_connected
from server.languages import LanguageError
from server.protocols.message_budgets import MessageBudgets
from server.protocols.message_reader import MessageReader
from server.protocols.protocol_errors import ProtocolError, protocol_error
from server.request_parsing import UnreadableError, check_names
from server.sessions import limits
from server.sessions.audio_request import AudioRequest
from server.sessions.clock import now
from server.sessions.hub import Hub
from server.sessions.outbox import Outbox
from server.sessions.refusals import AdmissionRefused
from server.sessions.session import Session
from whisper_ops import wire

log = logging.getLogger("whisper_ops.server")

HANDSHAKE_SECONDS = 30.0
"""For a client's first message: until then it holds a file descriptor, and no slot."""


def upgrade_headers(hub: Hub, connection_id: str) -> list[tuple[bytes, bytes]]:
    """Which server answered: behind a balancer a client of any protocol learns it from nothing else."""
    headers = {
        wire.SERVER_HEADER: hub.server_id,
        wire.GPUS_HEADER: str(len(hub.slots.gpus)),
        wire.CONNECTION_HEADER: connection_id,
    }
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]


class ClientConnection:
    resumable = False
    """Whether its clients can resume after a drop, and have a message that keeps a silent session alive."""
    parameters: frozenset[str] | None = None
    """Query parameters that are served; any other is refused. None: the original protocol reads none."""

    def __init__(self, hub: Hub, socket: WebSocket) -> None:
        self.hub, self.socket = hub, socket
        self.id = secrets.token_hex(6)
        self.address = socket.client.host if socket.client else ""
        self._began = now()
        self._admitted = False
        self._ticket = socket.query_params.get("ticket")
        self._reader = MessageReader(socket)
        self._budgets = MessageBudgets(hub.connection_limits)
        self._outbox: Outbox | None = None

    @property
    def elapsed_ms(self) -> float:
        """Since the connection began."""
        return round((now() - self._began) * 1000, 1)

    async def send(self, message: Any) -> None:  # noqa: ANN401  # whatever JSON holds
        await self.socket.send({"type": "websocket.send", "text": wire.encode(message).decode()})

    async def close(self, code: int, reason: str = "") -> None:
        """Close; a close frame holds at most 123 bytes of reason."""
        await self.socket.close(code, reason.encode()[:120].decode(errors="ignore"))

    # --- what a protocol implements -------------------------------------------------------------------

    async def handshake(self) -> tuple[AudioRequest, int]:
        """Read what the client asks for.

        Returns:
            The audio it will send, and the sample at which it begins.

        Raises:
            ProtocolError: something that is not served.
        """
        raise NotImplementedError

    async def send_status(self, state: str, message: str, gpu_id: int | None = None) -> None:
        """A step towards the stream was taken. Most protocols have no message for it."""

    async def send_ready(self, session: Session) -> None:
        """The client may send audio."""

    async def handle_message(self, session: Session, message: dict[str, Any]) -> None:
        """Serve one message of the client's stream: audio or a command.

        Raises:
            ProtocolError: it cannot be served; the stream ends.
        """
        raise NotImplementedError

    async def send_event(self, session: Session, message: ipc.Message) -> bool:
        """Send what came out of the stream. Returns whether it was the last: the socket is closed then."""
        raise NotImplementedError

    async def send_refusal(self, refusal: AdmissionRefused) -> None:
        """Say that there is no slot, and close."""
        raise NotImplementedError

    async def send_error(self, error: ProtocolError) -> None:
        """Say why no stream begins, and close."""
        raise NotImplementedError

    # --- from accept to close ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until one side closes. A client that is gone while we send is no fault."""
        try:
            await self._run()
        except WebSocketDisconnect:
            log.info("Connection %s: the client left before the last message was sent", self.id)

    async def _run(self) -> None:
        try:
            # A client that resumes has its slot already.
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
        except ProtocolError as error:
            await self.send_error(error)
        except ClientDisconnect:
            log.info("Connection %s: the client left before the model was loaded", self.id)
        except WebSocketDisconnect:
            log.info("Connection %s: the client is gone", self.id)
        except LanguageError as error:
            await self.send_error(ProtocolError("bad_request", str(error), "language"))
        except UnreadableError as error:
            await self.send_error(protocol_error(error))
        finally:
            self.hub.admission.tickets.discard(self._ticket)
            self.hub.release_unopened(self.id)

    def _resumed_session(self) -> Session | None:
        """The session that the client resumes; None: it asks for a new one."""
        token = self.socket.query_params.get("resume") if self.resumable else None
        return self.hub.resumable(token) if token else None

    def _admit(self) -> None:
        if not self._admitted:
            self.hub.admission.admit(self.id, self.address, self._ticket)
            self._admitted = True

    async def _deny_upgrade(self, refusal: AdmissionRefused) -> None:
        body = {"type": "error", "code": refusal.code, "message": refusal.message}
        headers = {"Retry-After": f"{refusal.retry_after_s:.0f}"}
        await self.socket.send_denial_response(JSONResponse(body, 503, headers))

    async def _open_stream(self) -> None:
        if self.parameters is not None:
            check_names(self.socket.query_params, self.parameters | self.hub.settings.routing_parameters)
        # A client that was admitted before the upgrade holds a slot already, as if by a ticket.
        seconds = min(HANDSHAKE_SECONDS, self.hub.settings.ticket_seconds) if self._admitted else HANDSHAKE_SECONDS
        try:
            audio, offset = await asyncio.wait_for(self.handshake(), seconds)
        except TimeoutError as error:
            raise ProtocolError("idle_timeout", f"no first message for {seconds:g} s") from error
        idle_seconds = self._idle_seconds()
        session = self._resume(offset)
        if session is None:
            await self._allocate()
            session = self.hub.open(self.id, audio, address=self.address, offset=offset)
            self.hub.counters.set_up(self.elapsed_ms)
        session.idle_seconds = idle_seconds
        await self._serve(session)

    def _resume(self, offset: int) -> Session | None:
        """The session that the client resumes, with the finals after `offset` queued again."""
        token = self.socket.query_params.get("resume", "")
        session = self.hub.resume(token, offset) if self._resumed_session() is not None else None
        if session is not None:
            self.hub.admission.tickets.discard(self._ticket)
            self.hub.release_unopened(self.id)
            self.id = session.connection_id
            log.info("Connection %s: resumed", self.id)
        return session

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
        if not self.hub.router.is_ready(gpu_id):
            # A client that leaves meanwhile gives its slot back at once.
            await while_connected(self.hub.wait_ready(self.id), self._reader.wait_for_disconnect())
        log.info("Connection %s: TranscriptionEngine loaded (%.0fms)", self.id, self.elapsed_ms)

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
            except ProtocolError as error:
                session.fail(error.code, error.message)
                clean = True
                await writer
            finally:
                writer.cancel()
        finally:
            # A send into a socket that is gone ends here too, as does our own shutdown.
            self._park_or_close(session, outbox, clean=clean)

    def _park_or_close(self, session: Session, outbox: Outbox, *, clean: bool) -> None:
        if session.outbox is not outbox:
            return  # the client resumed over another socket before this one was closed
        if self.resumable and not clean and not session.done and self.hub.settings.resume_seconds:
            self.hub.park(session)
        else:
            self.hub.close(session, failed=not clean and not session.done)

    async def _read_messages(self, session: Session) -> bool:
        """Handle what the client sends until it is gone. Returns whether it closed, rather than dropped."""
        while True:
            message = await self._reader.receive()
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
            await self._budgets.charge_message(session.received_s - before)

    def _owns_stream(self, session: Session) -> bool:
        """Whether this socket is still the stream's: the client may have resumed over another one."""
        return not session.done and session.outbox is self._outbox

    async def _write_events(self, session: Session) -> None:
        outbox = session.outbox
        with contextlib.suppress(WebSocketDisconnect):  # the reading task notices it, too
            while (message := await outbox.get()) is not None:
                if await self.send_event(session, message):
                    return
            if session.outbox is not outbox:
                await self._close_superseded()

    async def _close_superseded(self) -> None:
        with contextlib.suppress(RuntimeError):  # it may be closed already
            await self.close(1001, "The stream was resumed over another connection")

    async def receive_audio(self, session: Session, data: bytes) -> None:
        """Pass on audio, which may end within a sample; waits while the stream is too far behind."""
        for piece in limits.split_audio(session.whole_samples(data), session.audio):
            await self._budgets.wait_for_audio()
            await limits.back_pressure(session, self.hub.counters)
            if session.ended or not self._owns_stream(session):
                return
            before = session.received_s
            self.hub.receive_audio(session, piece)
            self._budgets.charge_audio(session.received_s - before)
        await limits.back_pressure(session, self.hub.counters)
