"""A simulated engine that takes `T(B) = a + b·B` seconds for a batch of B rows.

Servers of eight GPUs can so be tested, demonstrated and planned on a laptop; every page labels it as simulated. It
decodes `whisper_ops.tone_language`, so that lost or repeated audio shows in its text.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence

from server.engines.engine import EngineInfo, EngineRow, Hypothesis, TimedWord
from server.settings import SimulatedLaw
from whisper_ops.tone_language import heard


class SimulatedEngine:
    """An `Engine`; tests pass a virtual clock's `sleep`."""

    def __init__(self, law: SimulatedLaw, sleep: Callable[[float], None] = time.sleep) -> None:
        self._law, self._sleep = law, sleep
        self._rows, self._batches = itertools.count(1), itertools.count(1)
        # A GPU runs one batch after the other, from whatever thread.
        self._device = threading.Lock()

    def load(self) -> EngineInfo:
        self._sleep(self._law.load_seconds)
        return EngineInfo(compute_type="simulated", languages="en")

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        law = self._law
        with self._device:
            if law.hang_after and next(self._batches) > law.hang_after:
                threading.Event().wait()
            self._sleep(law.a_seconds + law.b_seconds * len(rows))
        _burn(law.host_seconds * len(rows))
        if law.fault_every and any(next(self._rows) % law.fault_every == 0 for _ in rows):
            raise RuntimeError("a simulated fault")
        return [_hypothesis(row) for row in rows]

    def reserved_bytes(self) -> float | None:
        return None

    def memory_bytes(self, streams: int) -> float | None:
        return self._law.memory_base_bytes + self._law.memory_slope_bytes * streams


def _hypothesis(row: EngineRow) -> Hypothesis:
    spoken = heard(row.audio)
    words = tuple(TimedWord(word.word, word.start, word.end, 1.0) for word in spoken)
    return Hypothesis(
        " ".join(w.word for w in words), words=words if row.words else None, language=row.language or "en"
    )


def _burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
