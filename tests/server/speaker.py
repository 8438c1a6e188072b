"""A real client of /ws that speaks in real time, keeps what is not final, and comes back when its connection drops."""

import asyncio
import json
import ssl
import time
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

RATE = 16000
CHUNK_SECONDS = 0.1


class Speaker:
    """Plays 16-bit audio. `finals` is everything said, in order; `drop` breaks the connection without a close frame."""

    def __init__(
        self, url: str, audio: bytes, *, speed: float = 1.0, rate: int = RATE, tls: ssl.SSLContext | None = None
    ) -> None:
        self._tls = tls
        self._url, self._audio, self._speed, self._rate = url, audio, speed, rate
        self.finals: list[dict[str, Any]] = []
        self.done: dict[str, Any] | None = None
        self.errors: list[dict[str, Any]] = []
        self.partials = 0
        self.drops = self.moves = 0
        self._token = ""
        self._connection: ClientConnection | None = None
        self._ready = asyncio.Event()

    async def run(self) -> "Speaker":
        """Speak to the end, however often the connection drops; give up a minute after the audio's end."""
        seconds = len(self._audio) / 2 / self._rate / self._speed
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds + 60):
                while self.done is None and not self.errors:
                    with suppress(OSError, ConnectionClosed):
                        await self._once()
                    await asyncio.sleep(0.2)
        return self

    async def _once(self) -> None:
        heard = round(self.finals[-1]["end"] * self._rate) if self.finals else 0
        joint = "&" if "?" in self._url else "?"
        query = f"{joint}resume={self._token}&offset={heard}" if self._token else ""
        async with connect(
            self._url + query, ssl=self._tls, compression=None, max_size=None, ping_interval=None
        ) as connection:
            self._connection = connection
            at = await self._wait_ready(connection)
            reader = asyncio.create_task(self._read(connection))
            try:
                await self._speak(connection, at)
                await reader
            finally:
                reader.cancel()

    async def _wait_ready(self, connection: ClientConnection) -> int:
        async for text in connection:
            said = json.loads(text)
            if said["type"] == "ready":
                self._token = said["resume_token"]
                self._ready.set()
                return int(said["received_samples"])
            if said["type"] == "error":
                self.errors.append(said)
        raise ConnectionClosed(None, None)

    async def _speak(self, connection: ClientConnection, at: int) -> None:
        step = round(CHUNK_SECONDS * self._rate)
        next_at = time.monotonic()
        for begin in range(at * 2, len(self._audio), step * 2):
            next_at += CHUNK_SECONDS / self._speed
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            await connection.send(self._audio[begin : begin + step * 2])
        await connection.send('{"type":"end"}')

    async def _read(self, connection: ClientConnection) -> None:
        async for text in connection:
            said = json.loads(text)
            match said["type"]:
                case "final":
                    self.finals.append(said)
                case "partial":
                    self.partials += 1
                case "done":
                    self.done = said
                case "draining":
                    # To another server, with what is not final yet; a clean close frees the slot here at once.
                    self.moves += 1
                    await connection.close()
                case "error":
                    self.errors.append(said)

    def drop(self) -> None:
        """The network goes: the socket is reset, no close frame is sent."""
        assert self._connection is not None
        self.drops += 1
        self._connection.transport.abort()

    async def ready(self) -> None:
        """Wait until the server took the stream."""
        await self._ready.wait()

    @property
    def words(self) -> list[str]:
        """Everything said, plain."""
        text = " ".join(final["text"] for final in self.finals)
        return [w for w in ("".join(c for c in word.casefold() if c.isalnum()) for word in text.split()) if w]


def longest_loss(reference: list[str], heard: list[str]) -> tuple[int, float]:
    """Of an alignment of two word lists: the longest run of words missing from `heard`, and the share that differs."""
    import jiwer

    if not reference:
        return 0, 0.0 if not heard else 1.0
    out = jiwer.process_words(" ".join(reference), " ".join(heard) or "—")
    runs = [c.ref_end_idx - c.ref_start_idx for c in out.alignments[0] if c.type == "delete"]
    differ = out.insertions + out.deletions + out.substitutions
    return max(runs, default=0), differ / len(reference)
