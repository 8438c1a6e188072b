"""A test double: a tiny server that speaks the native protocol and misbehaves on demand. Nothing of it is a product.

It "hears" because the test corpus is coded: each word is a run of one sample value, the word's number in the
vocabulary. So it transcribes exactly, in real time, with any delay or fault a test asks for.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from capacity.corpus.audio_files import write_wav
from capacity.corpus.clips import RATE, ClipWord, WordTimes
from server import ipc
from server.http.connect import described
from server.protocols import native
from server.sessions.hub import server_id
from server.sessions.tickets import Ticket
from whisper_ops import wire

VOCABULARY = (
    *("river", "stone", "garden", "window", "paper", "silver", "market", "doctor", "winter", "summer"),
    *("yellow", "bridge", "castle", "forest", "kitchen", "letter", "mountain", "number", "orange", "pencil"),
    *("rabbit", "school", "table", "uncle", "village", "water", "island", "hammer", "engine", "dinner"),
)
_WORD_SECONDS = 0.3
_GAP_SECONDS = 0.05
_STEP = 100


def coded_corpus(folder: Path, clips: int = 12, words: int = 6) -> Path:
    """A corpus of `clips` utterances whose sound holds the numbers of their words."""
    folder.mkdir(parents=True, exist_ok=True)
    for c in range(clips):
        numbers = [(c * 7 + k * 11) % len(VOCABULARY) for k in range(words)]
        gap = np.zeros(int(_GAP_SECONDS * RATE), dtype=np.int16)
        parts, times, at = [], [], 0.0
        for n in numbers:
            parts += [np.full(int(_WORD_SECONDS * RATE), (n + 1) * _STEP, dtype=np.int16), gap]
            times.append(ClipWord(VOCABULARY[n], round(at, 3), round(at + _WORD_SECONDS, 3)))
            at += _WORD_SECONDS + _GAP_SECONDS
        write_wav(folder / f"{c:02}.wav", np.concatenate(parts), RATE)
        (folder / f"{c:02}.txt").write_text(" ".join(VOCABULARY[n] for n in numbers) + "\n")
        (folder / f"{c:02}.words.json").write_bytes(msgspec.json.encode(WordTimes("coded", tuple(times))))
    return folder


class Faults(msgspec.Struct, kw_only=True):
    """What a double does wrong, and when."""

    delay_seconds: float = 0.1
    slots: int = 1000
    says_slots: int | None = None
    """What it says it has, where that is another number: users that no load test knows of hold the rest."""
    slot_code: str = "no_capacity"
    drop_every: int = 0
    """Leave out every n-th word."""
    partials: bool = True
    revise: bool = False
    """Show each new word wrongly first."""
    silent: bool = False
    nonsense: bool = False
    never_ready: bool = False
    never_done: bool = False
    stop_reading_after_seconds: float | None = None
    leave_after_seconds: float | None = None
    """Say `done` and close when so much sound came: a server that pretends to have streams."""
    die_after_seconds: float | None = None
    """The whole server is gone when any stream has sent so much."""
    cold_seconds: float = 0.0
    """No text comes for so long after the first connection; then all of it at once."""
    gpus: int = 1
    uneven: bool = False
    """Everybody goes to the first GPU."""
    never_refuses: bool = False
    leaks_gigabytes: float = 0.0
    """A connection, for good."""
    memory_gigabytes: tuple[float, float] = (1.0, 8.0)
    """Of each GPU: in use without a connection, and in all."""
    device_name: str | None = None
    words: str | None = None
    """What it says wherever a server has words of its own: names, a version, why it refuses."""
    memory_late_seconds: float = 0.0
    """A gigabyte that connections took is said to be in use for so long after they left."""
    always_healthy: bool = False
    keeps_slots: bool = False
    draining: bool = False
    token: str | None = None
    """What everybody must bear."""
    hands_out: str | None = None
    """Where `/connect` sends clients; None: here."""
    failed_gpus: tuple[int, ...] = ()
    """These take no streams."""
    cuts_after_seconds: float | None = None
    """As a proxy does: it closes a connection of that age."""


class Double:
    """The running double."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.active: dict[int, int] = {}
        self.most_active = 0
        self.accepted = 0
        self.handed_out = 0
        self.warm_at: float | None = None
        self.left_at = 0.0
        self.tickets: set[str] = set()
        self.authorizations: list[str | None] = []
        """What each request for a stream bore."""
        self.server_id = server_id(0)
        self.server: Server | None = None
        self.url = ""
        self.empty = asyncio.Event()
        """Set while nobody is connected."""

    async def stream(self, connection: ServerConnection) -> None:
        try:
            await self._stream(connection)
        except ConnectionClosed:
            pass
        finally:
            self.left_at = asyncio.get_running_loop().time()
            if not self.faults.keeps_slots:
                self.active.pop(id(connection), None)
            if not self.active:
                self.empty.set()

    async def _stream(self, connection: ServerConnection) -> None:
        faults = self.faults
        assert connection.request is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        self.tickets.discard(query.get("ticket", [""])[0])
        if faults.draining or (self.used >= faults.slots and not faults.never_refuses):
            code, why = faults.slot_code, faults.words or "No GPU resources available"
            if faults.draining:
                code, why = "draining", "The server is draining; connect to another one"
            await connection.send(json.dumps(native.failed(code, why, retry_after_s=5.0)))
            await connection.close(1013)
            return
        well = [g for g in range(faults.gpus) if g not in faults.failed_gpus]
        gpu = min(well, key=lambda g: 0 if faults.uneven else self._on(g))
        if faults.cuts_after_seconds is not None:
            asyncio.get_running_loop().call_later(faults.cuts_after_seconds, connection.transport.abort)
        self.active[id(connection)] = gpu
        self.accepted += 1
        if self.warm_at is None:
            self.warm_at = asyncio.get_running_loop().time() + faults.cold_seconds
        self.empty.clear()
        self.most_active = max(self.most_active, len(self.active))
        await connection.send(json.dumps(native.status("connected", "Connected", 0.1)))
        if faults.never_ready:
            await connection.wait_closed()
        if faults.nonsense:
            await connection.send("<html>Bad gateway</html>")
        said = native.ready(
            secrets.token_hex(6),
            gpu,
            server_id=self.server_id,
            total_gpus=faults.gpus,
            setup_time_ms=1.0,
            resume_token=secrets.token_urlsafe(16),
        )
        await connection.send(json.dumps(said))
        await self._listen(connection)

    async def _listen(self, connection: ServerConnection) -> None:
        faults, loop = self.faults, asyncio.get_running_loop()
        ear = _Ear()
        shown: list[str] = []
        async for message in connection:
            if isinstance(message, str):
                await asyncio.sleep(faults.delay_seconds)
                if not faults.never_done:
                    await self._final(connection, shown)
                    await connection.send(json.dumps(native.done(ipc.Done(0, ear.seconds, 1))))
                    await connection.close()
                    return
                continue
            for word in ear.hear(message):
                if faults.drop_every and ear.words % faults.drop_every == 0:
                    continue
                if not faults.silent:
                    at = max(self.warm_at or 0.0, loop.time() + faults.delay_seconds)
                    loop.call_at(at, self._show, connection, shown, word)
            await self._misbehave(connection, ear.seconds)

    async def _misbehave(self, connection: ServerConnection, seconds: float) -> None:
        faults = self.faults
        if faults.die_after_seconds is not None and seconds >= faults.die_after_seconds and self.server is not None:
            self.server.close(close_connections=True, code=1011)
        if faults.leave_after_seconds is not None and seconds >= faults.leave_after_seconds:
            await connection.send(json.dumps(native.done(ipc.Done(0, seconds, 1))))
            await connection.close()
        if faults.stop_reading_after_seconds is not None and seconds >= faults.stop_reading_after_seconds:
            await connection.wait_closed()

    def _show(self, connection: ServerConnection, shown: list[str], word: str) -> None:
        shown.append(word)
        if connection.protocol.state is not State.OPEN:
            return  # it left before its text came
        if not self.faults.partials:
            return
        texts = [" ".join(shown)]
        if self.faults.revise:
            texts.insert(0, " ".join([*shown[:-1], "wrong"]))
        for text in texts:
            said = ipc.Partial(stream=0, segment=0, text=text, stable_chars=0, start=0.0, end=1.0, covered_s=1.0)
            connection.protocol.send_text(json.dumps(native.partial(said, 0.0)).encode())
            connection.send_data()

    async def _final(self, connection: ServerConnection, shown: list[str]) -> None:
        if shown:
            said = ipc.Final(
                stream=0, segment=0, text=" ".join(shown), start=0.0, end=1.0, covered_s=1.0, settled_s=1.0, delay_s=0.1
            )
            await connection.send(json.dumps(native.final(said)))

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """HTTP beside the socket, as a server has it."""
        if self.faults.token and request.headers.get("Authorization") != f"Bearer {self.faults.token}":
            return _http(HTTPStatus.UNAUTHORIZED, b"{}", ("WWW-Authenticate", "Bearer"))
        if request.path.startswith("/ws"):
            self.authorizations.append(request.headers.get("Authorization"))
            return None
        if request.path == "/connect":
            return self._connect()
        if request.path == "/snapshot":
            return _http(HTTPStatus.OK, wire.encode(self._snapshot()))
        return _http(HTTPStatus.NOT_FOUND, b"{}")

    def _connect(self) -> Response:
        """As the real server answers: with its own code."""
        if self.used >= self.faults.slots:
            body = wire.encode({"error": "No GPU resources available"})
            return _http(HTTPStatus.SERVICE_UNAVAILABLE, body, ("Retry-After", "5"))
        self.handed_out += 1
        ticket = Ticket(secrets.token_urlsafe(16), 0, time.time() + 10, self.handed_out)
        self.tickets.add(ticket.value)
        url, port = self.faults.hands_out or f"{self.url.replace('http', 'ws')}/ws", urlsplit(self.url).port or 0
        answer = described(url, ticket, port=port, active=len(self.active), most=self.faults.slots)
        return _http(HTTPStatus.OK, wire.encode(answer))

    @property
    def used(self) -> int:
        """Slots held by streams and tickets."""
        return len(self.active) + len(self.tickets)

    def _on(self, gpu: int) -> int:
        return sum(at == gpu for at in self.active.values())

    def _status(self, share: float) -> wire.HealthStatus:
        if self.faults.draining:
            return "draining"
        if self.faults.always_healthy or share < 0.7:
            return "healthy"
        return "degraded" if share <= 0.9 else "critical"

    def _snapshot(self) -> wire.ServerSnapshot:
        used, gpus = len(self.active), self.faults.gpus
        faults = self.faults
        total, words = faults.slots if faults.says_slots is None else faults.says_slots, faults.words
        share = used / total if total else 0.0
        time_now = asyncio.get_running_loop().time()
        return wire.ServerSnapshot(
            health=wire.Health(
                status=self._status(share),
                timestamp=0.0,
                capacity=wire.SlotCapacity(
                    total_slots=total,
                    used_slots=used,
                    available_slots=total - used,
                    utilization_percent=100 * share,
                ),
                gpus=wire.GpuCount(total=gpus, with_connections=len(set(self.active.values()))),
                performance=wire.HealthPerformance(total_completed_connections=0, active_connections=used),
            ),
            gpu_status=wire.GpuStatus(
                total_gpus=gpus,
                total_connections=used,
                max_connections_per_gpu=total // gpus,
                gpus=tuple(
                    wire.GpuEntry(
                        gpu_id=g,
                        state="failed" if g in self.faults.failed_gpus else "ready",
                        active_connections=self._on(g),
                        name=self.faults.words or self.faults.device_name,
                        total_memory_gb=self.faults.memory_gigabytes[1],
                        allocated_memory_gb=self.faults.memory_gigabytes[0]
                        + 0.1 * self._on(g)
                        + self.faults.leaks_gigabytes * self.accepted
                        + (time_now - self.left_at < self.faults.memory_late_seconds),
                        # The worker's own, which says nothing of what it took on the device.
                        process_rss_bytes=50_000_000,
                    )
                    for g in range(gpus)
                ),
            ),
            performance=wire.Performance(total_completed_connections=0, active_connections=used),
            host=wire.Host(process_rss_bytes=2_000_000_000, process_cpu_ratio=0.5),
            engine=wire.EngineEntry(name=words or "double", model=words or "coded", compute_type=words, simulated=True),
            version=words or "0",
            server_id=self.server_id,
        )


class _Ear:
    """Hears words in coded sound: a run of one value that has ended is a word."""

    def __init__(self) -> None:
        self.samples = 0
        self.words = 0
        self._current = 0

    @property
    def seconds(self) -> float:
        return self.samples / RATE

    def hear(self, data: bytes) -> list[str]:
        sound = np.frombuffer(data, dtype="<i2")
        self.samples += len(sound)
        heard = []
        for value in sound[np.flatnonzero(np.diff(sound, prepend=self._current))]:
            if self._current:
                heard.append(VOCABULARY[self._current // _STEP - 1])
                self.words += 1
            self._current = int(value)
        return heard


def _http(status: HTTPStatus, body: bytes, *more: tuple[str, str]) -> Response:
    headers = Headers(
        [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close"), *more]
    )
    return Response(status.value, status.phrase, headers, body)


@asynccontextmanager
async def running_double(faults: Faults | None = None) -> AsyncIterator[Double]:
    """A double on a free port of 127.0.0.1."""
    double = Double(faults or Faults())
    async with serve(
        double.stream, "127.0.0.1", 0, process_request=double.answer, compression=None, ping_interval=None
    ) as server:
        double.server = server
        port = next(iter(server.sockets)).getsockname()[1]
        double.url = f"http://127.0.0.1:{port}"
        yield double
