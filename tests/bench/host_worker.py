"""A worker whose engine computes nothing: what is left is the host's share of so many streams.

Its rows end one by one after a law's time, with a text that grows as the window does.
"""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Sequence

from server import ipc
from server.engines.engine import Done, Engine, EngineInfo, EngineRow, Hypothesis
from server.worker.process import Worker

_WORDS = tuple(f"word{n}" for n in range(60))
_WORDS_PER_SECOND = 2.5


class SleepingEngine:
    """See `server.engines.engine.RowEngine`. T(B) = `a` + `b`·B seconds, as an H200 might take for large-v3-turbo."""

    def __init__(self, a: float = 0.03, b: float = 0.0012) -> None:
        self._a, self._b = a, b

    def load(self) -> EngineInfo:
        """See `Engine`."""
        return EngineInfo("none", "en")

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        """See `Engine`."""
        time.sleep(self._a + self._b * len(rows))
        return [_heard(row) for row in rows]

    def start(self, rows: Sequence[EngineRow], done: Done) -> None:
        """See `RowEngine`."""
        time.sleep(self._b * len(rows))
        threading.Timer(self._a, self._end, (rows, done)).start()

    @staticmethod
    def _end(rows: Sequence[EngineRow], done: Done) -> None:
        for place, row in enumerate(rows):
            done(place, _heard(row))

    def memory_bytes(self, streams: int) -> float | None:
        """See `Engine`."""
        return None

    def reserved_bytes(self) -> float | None:
        """See `Engine`."""
        return None


def _heard(row: EngineRow) -> Hypothesis:
    count = int(len(row.audio) / 16000 * _WORDS_PER_SECOND)
    return Hypothesis(" ".join(_WORDS[:count]), language="en")


async def _serve(descriptor: int) -> None:
    def engine(_: ipc.Start) -> Engine:
        return SleepingEngine()

    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    worker = Worker(engine)
    await asyncio.get_running_loop().create_connection(lambda: worker.channel, sock=sock)
    await worker.finished.wait()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
