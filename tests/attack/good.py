"""`python -m tests.attack.good WS_URL CLIENTS`: clients that behave, in a process of their own, beside an attack.

Each speaks utterances of three words in real time, and knows when each ended and when its final came. They stop when
standard input ends, wait for their last final, and print what they saw as one JSON object. Times are monotonic seconds.
"""

import asyncio
import difflib
import json
import sys
import time
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from whisper_ops.tone_language import RATE, VOCABULARY, WORD_SECONDS, track

WORDS = 3
PAUSE_SECONDS = 0.7
CHUNK_SECONDS = 0.1
LAST_SECONDS = 20.0
"""So long a client waits for its last final."""


class GoodClient:
    """One client of /ws."""

    def __init__(self, url: str, stop: asyncio.Event) -> None:
        self._url, self._stop = url, stop
        self.ended_at: list[float] = []
        """When each utterance's last word was sent."""
        self.heard: list[str] = []
        self.finals: list[tuple[float, float]] = []
        """For each utterance whose text is there: when it ended, and how long its text took."""
        self.errors: list[str] = []

    async def run(self) -> dict[str, Any]:
        try:
            async with connect(self._url, compression=None, ping_interval=None, open_timeout=30) as connection:
                reading = asyncio.create_task(self._read(connection))
                await self._speak(connection)
                await connection.send('{"type":"end"}')
                await asyncio.wait_for(reading, LAST_SECONDS)
        except (OSError, ConnectionClosed, TimeoutError) as error:
            self.errors.append(f"{type(error).__name__}: {error}")
        said = [VOCABULARY[n % len(VOCABULARY)] for n in range(WORDS * len(self.ended_at))]
        alike = difflib.SequenceMatcher(None, said, self.heard, autojunk=False).get_matching_blocks()
        missing = len(said) - sum(block.size for block in alike)
        return {"said": len(said), "missing": missing, "finals": self.finals, "errors": self.errors}

    async def _speak(self, connection: ClientConnection) -> None:
        chunk = round(CHUNK_SECONDS * RATE)
        next_at = time.monotonic()
        while not self._stop.is_set():
            begin = len(self.ended_at) * WORDS * round(WORD_SECONDS * RATE)
            sound = track(begin, WORDS * round(WORD_SECONDS * RATE)).tobytes() + bytes(2 * round(PAUSE_SECONDS * RATE))
            for at in range(0, len(sound), 2 * chunk):
                next_at += CHUNK_SECONDS
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
                await connection.send(sound[at : at + 2 * chunk])
                if at == 2 * (WORDS * round(WORD_SECONDS * RATE) - chunk):
                    self.ended_at.append(time.monotonic())

    async def _read(self, connection: ClientConnection) -> None:
        async for text in connection:
            message = json.loads(text)
            if message["type"] == "error":
                self.errors.append(message["code"])
            if message["type"] == "final":
                self.heard += message["text"].split()
                while len(self.heard) >= WORDS * (len(self.finals) + 1) and len(self.finals) < len(self.ended_at):
                    ended_at = self.ended_at[len(self.finals)]
                    self.finals.append((ended_at, time.monotonic() - ended_at))


async def _poll_health(url: str, stop: asyncio.Event) -> list[tuple[float, float]]:
    """When /health was asked, and how long it took; 10 s is as long as anybody waits."""
    seen = []
    base = url.replace("ws", "http", 1).split("/ws")[0]
    query = url.partition("?")[2]
    async with httpx.AsyncClient(timeout=10) as client:
        while not stop.is_set():
            began = time.monotonic()
            try:
                await client.get(f"{base}/health?{query}")
            except httpx.HTTPError:
                seen.append((began, 10.0))
            else:
                seen.append((began, time.monotonic() - began))
            await asyncio.sleep(0.25)
    return seen


async def main(url: str, count: int) -> None:
    stop = asyncio.Event()
    clients = [GoodClient(url, stop) for _ in range(count)]
    health = asyncio.create_task(_poll_health(url, stop))

    async def started(client: GoodClient, delay: float) -> dict[str, Any]:
        await asyncio.sleep(delay)  # speakers do not breathe in step
        return await client.run()

    running = asyncio.gather(*(started(client, 0.3 * k) for k, client in enumerate(clients)))
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    sys.stdout.write(json.dumps({"clients": await running, "health": await health}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
