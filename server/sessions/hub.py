"""The front process's state: sessions, slots, workers, and what follows when one of them ends.

Every decision is made on the event loop without waiting in between, so none can be interrupted half-way.
"""

import asyncio
import itertools
import logging
import os
import secrets
import socket
import time
from dataclasses import replace

from server import ipc, languages
from server.connections.connection_limits import ConnectionLimits
from server.sessions import limits
from server.sessions.admission import Admission
from server.sessions.audio_request import AudioRequest
from server.sessions.clock import now
from server.sessions.counters import ServerCounters
from server.sessions.drain import GracefulDrain
from server.sessions.engine_stats import EngineStats
from server.sessions.lease import Lease
from server.sessions.outbox import Outbox
from server.sessions.refusals import AdmissionRefused, log_refusal
from server.sessions.session import Session
from server.sessions.session_router import SessionRouter
from server.sessions.slot_usage import load_status
from server.sessions.slots import Slots
from server.sessions.worker_supervisor import Launch, WorkerProcess, WorkerTimeouts, spawn
from server.settings import Settings
from whisper_ops.wire import HealthStatus

log = logging.getLogger("whisper_ops.server")


def server_id(port: int) -> str:
    """A name that no other server process has: replicas may share a host name, and behind a balancer an address."""
    host = os.environ.get("RUNPOD_POD_ID") or socket.gethostname()
    return f"{host}:{port}-{secrets.token_hex(3)}"


class Hub:
    """`run` must be running for anything to happen."""

    def __init__(self, settings: Settings, timeouts: WorkerTimeouts | None = None, launch: Launch = spawn) -> None:
        self.settings = settings
        self.started_at = time.time()
        self.server_id = server_id(settings.port)
        self.slots = Slots(len(settings.devices), settings.max_connections_per_gpu, settings.placement)
        self.workers = [
            WorkerProcess(i, device, settings, self, timeouts, launch) for i, device in enumerate(settings.devices)
        ]
        self.engine_stats = [EngineStats() for _ in settings.devices]
        self.sessions: dict[int, Session] = {}
        self.counters = ServerCounters()
        self.router = SessionRouter(self.slots, self.workers, self.sessions, self.counters)
        self.drain = GracefulDrain(settings, self.sessions)
        self.lease = Lease(settings, self.drain, self.sessions, self.fail)
        self.admission = Admission(settings, self.slots, self.counters, self._closed)
        self.connection_limits = ConnectionLimits()
        self.failure: str | None = None
        """Why the server ends, as a sentence for its user; None: it goes on."""
        self._served = False
        self._numbers = itertools.count(1)
        self._worker_changed = asyncio.Event()

    async def run(self) -> None:
        """Run the workers and the once-a-second bookkeeping until cancelled."""
        async with asyncio.TaskGroup() as group:
            for worker in self.workers:
                group.create_task(worker.run())
            group.create_task(self._every_second())

    async def _every_second(self) -> None:
        loop = asyncio.get_running_loop()
        tick = loop.time()
        while True:
            tick = max(tick + 1.0, loop.time())
            await asyncio.sleep(tick - loop.time())
            self._end_timed_out()
            self.lease.check()
            self.counters.turn([s.lag_s for s in self.sessions.values() if not s.done])
            for gpu_id, stats in enumerate(self.engine_stats):
                stats.turn([s.lag_s for s in self.sessions.values() if s.gpu_id == gpu_id and not s.done])
            intervals = [f.partial_interval_s for f in self.engine_stats if f.partial_interval_s is not None]
            self.counters.interval_s = sum(intervals) / len(intervals) if intervals else None

    # --- admission ----------------------------------------------------------------------------------

    def _closed(self) -> AdmissionRefused | None:
        """Why no stream is admitted now, whichever client asks; None: one may be."""
        if self.drain.active:
            return AdmissionRefused("draining", "The server is draining; connect to another one")
        if self.lease.has_expired:
            return AdmissionRefused("draining", "The server has lost its supervisor; connect to another one")
        limit, lag = self.settings.lag_objective_seconds, self.counters.lag.quantiles(0.95)[0]
        if limit and self.sessions and lag is not None and lag > limit:
            return AdmissionRefused("lagging", f"The server is behind by {lag:.1f} s; try again soon")
        return None

    async def wait_ready(self, connection_id: str) -> None:
        """Wait until the model of the GPU that a connection holds a slot of is in memory.

        Raises:
            AdmissionRefused: the GPU failed, and no other has room.
        """
        while (gpu_id := self.slots.gpu_of(connection_id)) is not None and not self.router.is_ready(gpu_id):
            failed = self.slots.gpus[gpu_id].state == "failed"
            if failed and self.slots.reserve(connection_id, avoid=gpu_id) is None:
                refusal = AdmissionRefused("gpu_failed", f"GPU {gpu_id} failed: {self.workers[gpu_id].reason}")
                log_refusal(f"Connection {connection_id}", refusal)
                raise refusal
            if not failed:
                await self._worker_changed.wait()

    def fail(self, reason: str) -> None:
        """End the server, with exit code 1. The first reason is the one that is shown."""
        self.failure = self.failure or reason

    def _wake_waiting(self) -> None:
        self._worker_changed.set()
        self._worker_changed = asyncio.Event()

    # --- sessions -----------------------------------------------------------------------------------

    def open(self, connection_id: str, audio: AudioRequest, *, address: str, offset: int = 0) -> Session:
        """Begin a session on the slot that `connection_id` reserved.

        Raises:
            LanguageError: the model does not know the language that is asked for.
        """
        self.check_language(audio.language)
        gpu_id = self.slots.gpu_of(connection_id)
        assert gpu_id is not None
        session = Session(next(self._numbers), connection_id, audio, address=address, offset=offset)
        session.gpu_id = gpu_id
        self.slots.activate(connection_id)
        self.sessions[session.number] = session
        self.router.send(session, session.opening())
        return session

    def check_language(self, code: str | None) -> None:
        """Whether the model, once it is loaded, can be asked for a language.

        Raises:
            LanguageError: it cannot.
        """
        loaded = next((worker.loaded for worker in self.workers if worker.loaded), None)
        if loaded is not None:
            languages.check(code, loaded.codes, self.settings.model)

    def receive_audio(self, session: Session, data: bytes) -> None:
        """Pass on audio of whole samples."""
        session.append_audio(data)
        self.router.send(session, ipc.AudioMessage(session.number, data))

    def flush(self, session: Session) -> None:
        """Ask for a final of what was spoken so far."""
        session.flush()
        self.router.send(session, ipc.Flush(session.number))

    def set_language(self, session: Session, language: str | None) -> None:
        """From the next text on a stream is in this language; None: in what it sounds like.

        Raises:
            LanguageError: there is no such language, or the model does not know it.
        """
        audio = replace(session.audio, language=language)
        self.check_language(audio.language)
        session.audio = audio
        self.router.send(session, ipc.Language(session.number, audio.language))

    def language_of(self, session: Session) -> str | None:
        """What a stream is in: as its client said, as a model that knows English only must, or as it was heard."""
        loaded = self.workers[session.gpu_id].loaded
        only = "en" if loaded is not None and loaded.languages == "en" else None
        return session.audio.language or only or session.detected_language

    def end_audio(self, session: Session) -> None:
        """No more audio comes; `Done` will follow."""
        session.ended = True
        self.router.send(session, ipc.EndOfAudio(session.number))

    def close(self, session: Session, *, failed: bool = False) -> None:
        """Forget a session and free its slot. Doing it twice does nothing."""
        if self.sessions.pop(session.number, None) is None:
            return
        session.outbox.close()
        self.drain.session_ended()
        self.workers[session.gpu_id].send(ipc.Close(session.number))
        self.release(session.connection_id)
        counters = self.counters
        counters.failed += failed
        counters.completed += not failed
        counters.duration_s.add(now() - session.began)
        counters.chunks.add(session.chunks)
        counters.texts.add(session.texts)
        counters.misplaced += session.misplaced

    def park(self, session: Session) -> None:
        """A client dropped: hold its session and slot for a while, in case it resumes."""
        if session.number in self.sessions:
            outbox, seconds = session.outbox, self.settings.resume_seconds
            asyncio.get_running_loop().call_later(seconds, self._expire, session, outbox)

    def _expire(self, session: Session, outbox: Outbox) -> None:
        # A client that resumed has another outbox by now.
        if session.outbox is outbox:
            self.close(session, failed=not session.done)

    def resume(self, token: str, offset: int) -> Session | None:
        """The session of a resume token, with what the client lacks queued; None when it is not known here."""
        session = self.resumable(token)
        if session is not None:
            session.reattach(offset)
            self.drain.notify(session)
            self.counters.resumed += 1
        return session

    def resumable(self, token: str) -> Session | None:
        """The session of a resume token; None when it is not known here."""
        for session in self.sessions.values():
            if secrets.compare_digest(session.resume_token.encode(), token.encode()):
                return session
        return None

    def _end_timed_out(self) -> None:
        for session in list(self.sessions.values()):
            if not limits.reads_messages(session):
                self.close(session, failed=True)
            limits.end_late_tail(session)
            if (why := limits.timeout(session, self.settings)) is not None:
                session.end_after_tail(*why)
                self.end_audio(session)

    def release_unopened(self, connection_id: str) -> None:
        """Free what a connection holds that never became a session."""
        if not any(session.connection_id == connection_id for session in self.sessions.values()):
            self.release(connection_id)

    def release(self, connection_id: str) -> None:
        """Free whatever a connection holds."""
        gpu_id = self.admission.release(connection_id)
        if gpu_id is not None:
            log.info("Released GPU %d from connection %s", gpu_id, connection_id)

    # --- workers ------------------------------------------------------------------------------------

    def worker_ready(self, gpu_id: int, loaded: ipc.Loaded) -> None:
        """Open the streams that waited for this worker; those of a dead one go on where it left them."""
        log.info("Worker of GPU %d is ready: model loaded in %.0f ms", gpu_id, loaded.load_s * 1000)
        if loaded.memory is not None:
            log.info("Memory of GPU %d: %s", gpu_id, loaded.memory)
        self._served = True
        self.slots.gpus[gpu_id].state = "ready"
        self.router.replay_all(gpu_id)
        self._wake_waiting()

    def worker_lost(self, gpu_id: int, *, failed: bool) -> None:
        """Move its streams to another device with room; without one they wait for the new worker."""
        self.slots.gpus[gpu_id].state = "failed" if failed else "starting"
        self.engine_stats[gpu_id].forget()
        if failed:
            self.admission.tickets.gpu_failed(gpu_id)
        self.router.move_all(gpu_id, failed=failed)
        if all(gpu.state == "failed" for gpu in self.slots.gpus) and not self._served:
            self.failure = f"no worker could be started on any device: {self.workers[gpu_id].reason}"
        self._wake_waiting()

    def worker_sent(self, gpu_id: int, message: ipc.Message) -> None:
        if isinstance(message, ipc.Heartbeat):
            self.engine_stats[gpu_id].add(message)
        else:
            self.router.deliver(gpu_id, message)

    # --- state --------------------------------------------------------------------------------------

    @property
    def is_draining(self) -> bool:
        """Whether no stream is taken any more: it drains, or its lease ran out."""
        return self.drain.active or self.lease.has_expired

    @property
    def status(self) -> HealthStatus:
        """The word of `/health`."""
        states = [gpu.state for gpu in self.slots.gpus]
        used, total = self.slots.used, self.slots.total
        if self.is_draining:
            return "draining"
        if "ready" not in states and "starting" in states:
            return "starting"
        return load_status(total, used, has_failures="failed" in states)

    @property
    def ready(self) -> bool:
        """Whether an orchestrator should send streams here. A full server is ready."""
        return not self.is_draining and any(gpu.state == "ready" for gpu in self.slots.gpus)
