"""An engine that decodes nothing and takes a stated time for it: `T(B) = a + b·B`.

It lets servers of eight GPUs be tested, demonstrated and planned on a laptop. It is labelled as simulated wherever it
shows up. Its words depend only on where in the stream they stand, so windows of one stream agree with each other.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence

from server.encodings import SAMPLE_RATE
from server.engines.base import EngineInfo, Hypothesis, Row, TimedWord
from server.settings import SimulatedLaw

WORD_SECONDS = 0.4
VOCABULARY = (
    *("this", "text", "is", "simulated", "and", "no", "one", "said", "it", "while"),
    *("time", "passes", "words", "arrive", "at", "a", "steady", "pace", "every", "second"),
)


class SimulatedEngine:
    """See `server.engines.base.Engine`. `sleep` is real by default; tests pass a virtual clock's."""

    def __init__(self, law: SimulatedLaw, sleep: Callable[[float], None] = time.sleep) -> None:
        self._law, self._sleep = law, sleep
        self._rows, self._batches = itertools.count(1), itertools.count(1)
        # A GPU does one batch after the other, whoever asks.
        self._device = threading.Lock()

    def load(self) -> EngineInfo:
        """See `Engine`."""
        self._sleep(self._law.load_seconds)
        return EngineInfo(compute_type="simulated", languages="en")

    def decode(self, rows: Sequence[Row]) -> list[Hypothesis]:
        """See `Engine`."""
        law = self._law
        with self._device:
            if law.hang_after and next(self._batches) > law.hang_after:
                threading.Event().wait()
            self._sleep(law.a_seconds + law.b_seconds * len(rows))
        _burn(law.host_seconds * len(rows))
        if law.fault_every and any(next(self._rows) % law.fault_every == 0 for _ in rows):
            raise RuntimeError("a simulated fault")
        return [_said(row) for row in rows]

    def memory_bytes(self, streams: int) -> float | None:
        """See `Engine`."""
        return self._law.memory_base_bytes + self._law.memory_slope_bytes * streams


def _said(row: Row) -> Hypothesis:
    """Every word whose end lies in the window, by its number in the stream."""
    end_s = row.at_s + len(row.audio) / SAMPLE_RATE
    first = round(row.at_s / WORD_SECONDS + 0.499)
    numbers = range(first, int(end_s / WORD_SECONDS))
    words = tuple(
        TimedWord(VOCABULARY[n % len(VOCABULARY)], n * WORD_SECONDS - row.at_s, (n + 1) * WORD_SECONDS - row.at_s, 1.0)
        for n in numbers
    )
    return Hypothesis(" ".join(w.word for w in words), words=words if row.words else None, language="en")


def _burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
