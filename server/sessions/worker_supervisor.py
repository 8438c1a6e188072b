"""The worker process of a device: started, watched, ended when it hangs, and restarted.

Backoff doubles from half a second to half a minute. A worker that ends five times without having served for half a
minute in between is in a crash loop: its GPU is failed, and stays so until an operator restarts the server.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from server import ipc
from server.devices import WorkerDevice
from server.settings import Settings
from server.worker.decode_windows import VARIABLE
from whisper_ops.bearer_tokens import environment_without_secrets
from whisper_ops.telemetry.host import whole_cores

log = logging.getLogger("whisper_ops.server")


@dataclass(frozen=True)
class WorkerTimeouts:
    """Seconds after which a worker counts as hung, and between its restarts."""

    heartbeat: float = 10.0
    decode: float = 60.0
    load: float = 600.0
    first_backoff: float = 0.5
    longest_backoff: float = 30.0
    stable: float = 30.0
    """Of service, after which earlier failures are forgotten."""
    max_deaths: int = 5


class WorkerObserver(Protocol):
    """What a worker's events are passed to."""

    def worker_ready(self, gpu_id: int, loaded: ipc.Loaded) -> None:
        """It can take streams."""

    def worker_lost(self, gpu_id: int, *, failed: bool) -> None:
        """It ended; `failed`: and will not be restarted."""

    def worker_sent(self, gpu_id: int, message: ipc.Message) -> None:
        """It sent a text, a report or a fault."""


class Process(Protocol):
    """What the supervisor needs of a worker's process; `asyncio.subprocess.Process` is one."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    @property
    def returncode(self) -> int | None:
        """How it ended."""
        ...

    def kill(self) -> None:
        """End it now."""

    async def wait(self) -> int:
        """Wait for its end."""
        ...


Launch = Callable[[socket.socket], Awaitable[Process]]
"""Starts a worker with its end of a socket pair, and takes that end over."""


async def spawn(theirs: socket.socket, *, log_json: bool = False) -> Process:
    """Start a worker as a process of its own: never forked, as CUDA does not survive a fork."""
    with theirs:
        command = (sys.executable, "-m", "server.worker", str(theirs.fileno()), "json" if log_json else "plain")
        # OpenMP's default would be a thread a core in each of several lanes.
        environment = {**environment_without_secrets(), "OMP_NUM_THREADS": "1"}
        if rule := os.environ.get(VARIABLE):
            environment[VARIABLE] = rule
        return await asyncio.create_subprocess_exec(
            *command, pass_fds=[theirs.fileno()], env=environment, stdin=asyncio.subprocess.DEVNULL
        )


class WorkerProcess:
    """The worker of one device, across its restarts."""

    def __init__(
        self,
        gpu_id: int,
        device: WorkerDevice,
        settings: Settings,
        owner: WorkerObserver,
        timeouts: WorkerTimeouts | None = None,
        launch: "Launch | None" = None,
    ) -> None:
        self.gpu_id, self.device = gpu_id, device
        self.restarts = 0
        self.pid: int | None = None
        self.loaded: ipc.Loaded | None = None
        self.beat: ipc.Heartbeat | None = None
        self.reason: str | None = None
        self._unfit = False
        self._settings, self._owner, self._timeouts = settings, owner, timeouts or WorkerTimeouts()
        self._launch = launch or spawn
        self._channel: ipc.Channel | None = None
        self._ended = asyncio.Event()
        self._last_message_at = 0.0

    def send(self, message: ipc.Message) -> None:
        """Send to the worker; without one the message is dropped."""
        if self._channel is not None:
            self._channel.send(message)

    def _has_loaded(self) -> bool:
        # A method: what a callback changes while we wait is invisible to the type checker.
        return self.loaded is not None

    async def run(self) -> None:
        """Keep a worker alive until cancelled, or until it has failed for good."""
        deaths = 0
        while True:
            served = await self._run_once()
            deaths = 1 if served >= self._timeouts.stable else deaths + 1
            failed = self._unfit or deaths >= self._timeouts.max_deaths
            log.error("Worker of GPU %d ended (%s), failure %d in a row", self.gpu_id, self.reason, deaths)
            self._owner.worker_lost(self.gpu_id, failed=failed)
            if failed:
                why = "its worker cannot run there" if self._unfit else "its worker keeps ending"
                log.error("GPU %d failed: %s; its slots are removed", self.gpu_id, why)
                return
            self.restarts += 1
            timeouts = self._timeouts
            await asyncio.sleep(min(timeouts.first_backoff * 2 ** (deaths - 1), timeouts.longest_backoff))

    async def _run_once(self) -> float:
        try:
            return await self._run_process()
        except OSError as error:  # no descriptors, no memory: a death like another, and worth another try
            self.reason = f"cannot be started: {error}"
            return 0.0

    async def _run_process(self) -> float:
        """One worker from start to end. Returns how long it served, in seconds."""
        self.loaded = self.beat = self.reason = None
        self._ended.clear()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        channel = ipc.Channel(ipc.ToFront, self._receive, self._ended.set)
        loop = asyncio.get_running_loop()
        process = await self._launch(theirs)
        self.pid = process.pid
        ready_at = None
        try:
            await loop.create_connection(lambda: channel, sock=ours)
            self._channel = channel
            channel.send(self._start_message())
            self._last_message_at = loop.time()
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), self._timeouts.heartbeat / 10)
                if ready_at is None and self._has_loaded():
                    ready_at = loop.time()
                self._end_if_hung(process, loop.time())
        finally:
            self._channel = self.pid = None
            channel.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
        self._explain(process.returncode)
        return loop.time() - (ready_at or loop.time())

    def _explain(self, code: int | None) -> None:
        self.reason = self.reason or f"exit code {code}"

    def _start_message(self) -> ipc.Start:
        settings = self._settings
        return ipc.Start(
            engine=settings.engine,
            device=self.device.name if self.device.kind != "sim" else "sim",
            model_path=str(settings.model_path) if settings.model_path else settings.model,
            compute_type=settings.compute_type,
            max_batch=settings.max_batch,
            lanes=lanes(settings),
            threads=threads(settings),
            min_context_s=settings.min_context_seconds,
            law={k: float(v) for k, v in asdict(settings.law).items()},
            vad="level" if settings.engine == "simulated" else "silero",
        )

    def _receive(self, message: ipc.Message) -> None:
        self._last_message_at = asyncio.get_running_loop().time()
        match message:
            case ipc.Loaded():
                self.loaded = message
                self._owner.worker_ready(self.gpu_id, message)
            case ipc.Broken():
                self.reason, self._unfit = message.reason, message.unfit
                self._ended.set()
            case ipc.Heartbeat():
                self.beat = message
                self._owner.worker_sent(self.gpu_id, message)
            case _:
                self._owner.worker_sent(self.gpu_id, message)

    def _end_if_hung(self, process: Process, now: float) -> None:
        timeouts = self._timeouts
        silent = now - self._last_message_at
        if silent > (timeouts.heartbeat if self.loaded else timeouts.load):
            self.reason = f"no heartbeat for {silent:.0f} s"
        elif self.beat is not None and self.beat.decoding_s > timeouts.decode:
            self.reason = f"one batch has taken {self.beat.decoding_s:.0f} s"
        else:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        self._ended.set()


def lanes(settings: Settings) -> int:
    """Decoding threads of a worker: the cores shared out among CPU devices; one for a GPU.

    Measured on two cores with tiny.en int8: two lanes of one thread take 57 ms of a core a row in batches of four,
    one lane of two threads 86 ms, as the threads wait for each other at every layer.
    """
    if settings.engine == "torch":
        # One batch is encoded while the next one is put together; its rows are decoded side by side anyway.
        return 2
    return _cores_each(settings) if any(device.kind == "cpu" for device in settings.devices) else 1


def threads(settings: Settings) -> int:
    """Threads of one lane's arithmetic. torch's engine has one thread that computes, so that takes all cores."""
    return _cores_each(settings) if settings.engine == "torch" else 1


def _cores_each(settings: Settings) -> int:
    """Cores for each CPU device."""
    return max(1, whole_cores() // max(1, sum(device.kind == "cpu" for device in settings.devices)))
