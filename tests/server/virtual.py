"""A whole server in one event loop whose time jumps: ten minutes pass in a second, and every run is the same."""

import asyncio
import json
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from server import ipc
from server.devices import WorkerDevice
from server.engines.engine import Engine, EngineRow, Hypothesis
from server.engines.simulated import SimulatedEngine
from server.http.app import make_app
from server.sessions.hub import Hub
from server.sessions.worker_supervisor import Process, WorkerTimeouts
from server.settings import Settings, SimulatedLaw
from server.worker.process import Worker
from whisper_ops.tone_language import track

LAW = SimulatedLaw(a_seconds=0.02, b_seconds=0.005)
PATIENCE = WorkerTimeouts(heartbeat=4.0, decode=8.0, load=30.0)


class Hang(BaseException):  # nothing on its way may catch it
    """Raised by an engine that shall never answer."""


class _Selector(selectors.DefaultSelector):
    """Never waits: when no socket has anything, time jumps to the next timer."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for something that will never come"
            self.loop.at += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time; what runs in an executor takes as long as it `owes`."""

    def __init__(self) -> None:
        self.at = 1000.0
        self._owed = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.at

    def owe(self, seconds: float) -> None:
        self._owed += seconds

    def run_in_executor(  # type: ignore[override]  # a narrower view of the same call
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.create_future()
        self._owed = 0.0
        try:
            result = func(*args)
        except Hang:
            return future
        except Exception as error:  # noqa: BLE001  # an executor passes on whatever was raised
            future.set_exception(error)
            return future
        self.call_later(self._owed, _resolve, future, result)
        return future


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


class FlawedEngine(SimulatedEngine):
    """The simulated engine, with a switch that hangs it."""

    hanging = False

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        if self.hanging:
            raise Hang
        return super().decode(rows)


def engine_under_test() -> type[FlawedEngine]:
    """What the tests run on: the simulated engine itself, or torch's behind the same tones (make test-torch)."""
    if os.environ.get("WHISPER_OPS_TEST_ENGINE") == "torch":
        from tests.server.engines.torch.flawed import FlawedTorch

        return FlawedTorch
    return FlawedEngine


class InProcess:
    """A worker in our own loop, which can be killed like a process."""

    pid = 4194305  # above what Linux gives out: nobody's

    def __init__(self, worker: Worker, engine: FlawedEngine) -> None:
        self.worker, self.engine = worker, engine
        self.returncode: int | None = None
        self._over = asyncio.Event()

    def kill(self) -> None:
        if self.returncode is None:
            self.returncode = -9
            self.worker.channel.abort()
            self._over.set()

    async def wait(self) -> int:
        await self._over.wait()
        return self.returncode or 0


class World:
    """A server with simulated devices, and what a test does to it. Use inside a VirtualLoop."""

    def __init__(
        self,
        devices: int = 1,
        law: SimulatedLaw = LAW,
        patience: WorkerTimeouts = PATIENCE,
        engine: type[FlawedEngine] | None = None,
        **settings: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop, self.law, self._engine = loop, law, engine or engine_under_test()
        self.processes: list[InProcess] = []
        self.broken = False
        self.settings = self.plain_settings(devices, law=law, **settings)
        self.hub = Hub(self.settings, patience, self._launch)
        self.app = make_app(self.hub)
        self._run = loop.create_task(self.hub.run())

    @staticmethod
    def plain_settings(devices: int = 1, **settings: Any) -> Settings:
        """Of simulated devices."""
        return Settings(
            devices=tuple(WorkerDevice("sim", i) for i in range(devices)),
            engine="simulated",
            **{"model": "simulated", "max_connections_per_gpu": 4, **settings},
        )

    async def _launch(self, theirs: socket.socket) -> Process:
        engine = self._engine(self.law, self.loop.owe)
        theirs.setblocking(False)

        def make(_: ipc.Start) -> Engine:
            if self.broken:
                raise RuntimeError("the model cannot be read")
            return engine

        worker = Worker(make, self.loop.time, leave=lambda: None)
        process = InProcess(worker, engine)
        await self.loop.create_connection(lambda: worker.channel, sock=theirs)
        self.processes.append(process)
        return process

    async def ready(self) -> "World":
        await self.until(lambda: all(gpu.state == "ready" for gpu in self.hub.slots.gpus))
        return self

    async def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        deadline = self.loop.time() + seconds
        while not condition():
            assert self.loop.time() < deadline, "it did not come to pass"
            await asyncio.sleep(0.02)

    def live(self, gpu_id: int) -> InProcess:
        """The process that serves a device now."""
        running = [process for process in self.processes if process.returncode is None]
        channel = self.hub.workers[gpu_id]
        assert running, channel
        return running[min(gpu_id, len(running) - 1)]

    def client(self, path: str = "/ws", **query: Any) -> "Client":
        return Client(self, query, path)

    async def close(self) -> None:
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)


class Client:
    """A client of /ws, on the other side of ASGI. `messages` are all it was ever told."""

    def __init__(self, world: World, query: dict[str, Any], path: str = "/ws") -> None:
        self.world = world
        self.messages: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.subprotocol: str | None = None
        self.status: int | None = None
        self.resume_token = ""
        self.stalled = False
        """Whether it has stopped reading."""
        self.sent = 0
        self._incoming: deque[dict[str, Any]] = deque([{"type": "websocket.connect"}])
        self._wake = asyncio.Event()
        text = "&".join(f"{k}={v}" for k, v in query.items() if k not in ("from_address", "subprotocols"))
        scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": text.encode(),
            "headers": [],
            "subprotocols": query.get("subprotocols", []),
            "client": (query.get("from_address", "127.0.0.1"), 50000),
            "scheme": "ws",
            "extensions": {"websocket.http.response": {}},
        }
        self.task = asyncio.get_running_loop().create_task(world.app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        while not self._incoming:
            self._wake.clear()
            await self._wake.wait()
        return self._incoming.popleft()

    async def _send(self, message: Any) -> None:
        while self.stalled:  # noqa: ASYNC110  # in virtual time a second costs nothing
            await asyncio.sleep(1.0)
        match message["type"]:
            case "websocket.send":
                said = json.loads(message["text"])
                self.messages.append(said)
                if said.get("type") == "ready":
                    self.resume_token, self.sent = said["resume_token"], said["received_samples"]
            case "websocket.accept":
                self.subprotocol = message.get("subprotocol")
            case "websocket.close":
                self.close_code = message.get("code", 1000)
                self._put({"type": "websocket.disconnect", "code": self.close_code, "reason": ""})
            case "websocket.http.response.start":
                self.status = message["status"]

    def _put(self, message: dict[str, Any]) -> None:
        if self.over:
            return  # nobody reads it any more
        self._incoming.append(message)
        self._wake.set()

    # --- what a client does -------------------------------------------------------------------------

    async def connected(self) -> "Client":
        await self.world.until(lambda: bool(self.of("ready")) or self.over)
        return self

    async def speak(self, seconds: float, *, level: float = 0.3, chunk: float = 0.1) -> None:
        """Send in real time; level 0 is silence."""
        for _ in range(round(seconds / chunk)):
            samples = round(16000 * chunk)
            self.send(loud(samples, self.sent) if level else bytes(2 * samples))
            await asyncio.sleep(chunk)

    def send(self, data: bytes) -> None:
        self.sent += len(data) // 2
        self._put({"type": "websocket.receive", "bytes": data})

    def say(self, text: str) -> None:
        self._put({"type": "websocket.receive", "text": text})

    async def end(self) -> "Client":
        self.say('{"type":"end"}')
        await self.finished()
        return self

    def leave(self) -> None:
        self.stalled = False  # what waits to be sent to a closed socket is let go
        self._put({"type": "websocket.disconnect", "code": 1000, "reason": ""})

    def drop(self) -> None:
        """The network is gone: no close frame."""
        self.stalled = False
        self._put({"type": "websocket.disconnect", "code": 1005})

    async def finished(self) -> None:
        await self.world.until(lambda: self.over)

    # --- what it was told ---------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        return self.task.done()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message.get("type") == kind]

    @property
    def text(self) -> str:
        return " ".join(final["text"] for final in self.of("final"))


def loud(samples: int, begin: int = 0) -> bytes:
    """A stretch of the endless speech that the simulated engine hears; word n of it stands at n · 0.4 s."""
    return track(begin, samples).tobytes()


def run(main: Callable[[], Any]) -> Any:
    """Run a coroutine function under virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
