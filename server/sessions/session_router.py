"""Messages between sessions and the workers that decode them, also when a worker dies."""

import logging
from collections.abc import Mapping, Sequence

from server import ipc
from server.sessions.counters import ServerCounters
from server.sessions.session import Session
from server.sessions.slots import Slots
from server.sessions.worker_supervisor import WorkerProcess

log = logging.getLogger("whisper_ops.server")


class SessionRouter:
    def __init__(
        self,
        slots: Slots,
        workers: Sequence[WorkerProcess],
        sessions: Mapping[int, Session],
        counters: ServerCounters,
    ) -> None:
        self._slots, self._workers, self._sessions, self._counters = slots, workers, sessions, counters

    def is_ready(self, gpu_id: int) -> bool:
        """Whether the model of a GPU is in memory."""
        return self._slots.gpus[gpu_id].state == "ready"

    def send(self, session: Session, message: ipc.Message) -> None:
        """Send to the session's worker. One that is not ready gets it by `replay`, when it is."""
        if self.is_ready(session.gpu_id):
            self._workers[session.gpu_id].send(message)

    def replay(self, session: Session) -> None:
        """Open a session at its worker, and send the audio that no final covers."""
        if not session.done:
            for message in session.replay():
                self.send(session, message)

    def replay_all(self, gpu_id: int) -> None:
        for session in self._of(gpu_id):
            self.replay(session)

    def move_all(self, gpu_id: int, *, failed: bool) -> None:
        """Move the sessions of a lost worker to another GPU with room.

        Without one they wait for the new worker, or end where none will come (`failed`).
        """
        for session in self._of(gpu_id):
            self._move(session, gpu_id, failed=failed)

    def _of(self, gpu_id: int) -> list[Session]:
        return [session for session in self._sessions.values() if session.gpu_id == gpu_id]

    def _move(self, session: Session, lost: int, *, failed: bool) -> None:
        room = any(g.state == "ready" and g.used < g.limit for g in self._slots.gpus if g.gpu_id != lost)
        target = self._slots.reserve(session.connection_id, avoid=lost) if room or failed else None
        if target is not None:
            self._slots.activate(session.connection_id)
            session.gpu_id = target
            log.warning("Connection %s: moved from GPU %d to GPU %d", session.connection_id, lost, target)
            self.replay(session)
        elif failed:
            session.fail("server_fault", f"GPU {lost} failed")

    def deliver(self, gpu_id: int, message: ipc.Message) -> None:
        """Pass a worker's message on to its sessions. One of a session that has moved on is dropped."""
        match message:
            case ipc.Partial() | ipc.Final() | ipc.Flushed() | ipc.Undecoded() | ipc.Done():
                if (session := self._session(gpu_id, message.stream)) is not None:
                    if isinstance(message, ipc.Final):
                        self._counters.final.observe([message.delay_s])
                    session.deliver(message)
            case ipc.StreamProgress():
                for number, covered_s, settled_s in message.rows:
                    if (session := self._session(gpu_id, number)) is not None:
                        session.advance(covered_s, settled_s)
            case ipc.Fault():
                if (session := self._sessions.get(message.stream)) is not None:
                    session.fail(message.code, message.reason)

    def _session(self, gpu_id: int, number: int) -> Session | None:
        session = self._sessions.get(number)
        return session if session is not None and session.gpu_id == gpu_id else None
