"""The torch engine in the place of the simulated one: what decodes is real, what is heard are tones, time is virtual.

Every row goes through the torch engine's features, slots and steps, with small weights made at random; its text is then
that of the tones in its sound, so that the tests which count words can be run on this engine too.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from server.engines.engine import Done, EngineInfo, EngineRow, Hypothesis
from server.engines.simulated import _hypothesis
from server.engines.torch import weights
from server.engines.torch.cpu_runtime import CpuRuntime
from server.engines.torch.shapes import Shape
from server.engines.torch.torch_engine import TorchEngine
from server.settings import SimulatedLaw
from tests.server.virtual import FlawedEngine, Hang

SHAPE = Shape(mels=80, width=16, heads=2, encoder_layers=1, decoder_layers=1, vocabulary=51865)


@cache
def _engine() -> TorchEngine:
    """One for all workers of a test run: they differ only in what is asked of them."""
    engine = TorchEngine("random:tiny", "cpu", "float32", 8, 1, CpuRuntime())
    engine.load_weights(weights.at_random(SHAPE, "cpu", torch.float32), "float32")
    return engine


class FlawedTorch(FlawedEngine):
    """Takes the law's time, fails the rows that the law fails, and hangs when told to."""

    def __init__(self, law: SimulatedLaw, owe: Callable[[float], None]) -> None:
        super().__init__(law, owe)
        self._owes = owe
        self._rows_seen = 0

    def load(self) -> EngineInfo:
        _engine()
        return super().load()

    def start(self, rows: Sequence[EngineRow], done: Done) -> None:
        if self.hanging:
            raise Hang
        law, loop = self._law, asyncio.get_running_loop()
        found = _decoded([self._sound(row) for row in rows])
        seconds = law.a_seconds + law.b_seconds * len(rows)
        self._owes(seconds)
        for place, (row, heard) in enumerate(zip(rows, found, strict=True)):
            told = heard if isinstance(heard, Exception) else self.said(row)
            loop.call_later(seconds, done, place, told)

    def said(self, row: EngineRow) -> Hypothesis:
        """What is heard in a row's sound."""
        return _hypothesis(row)

    def _sound(self, row: EngineRow) -> EngineRow:
        """A row that shall fail has a sound that is no number: the engine itself finds that."""
        self._rows_seen += 1
        plain = replace(row, stream=None)
        if self._law.fault_every and self._rows_seen % self._law.fault_every == 0:
            return replace(plain, audio=np.full(len(row.audio) or 1, np.nan, np.float32))
        return plain


def _decoded(rows: Sequence[EngineRow]) -> list[Hypothesis | Exception]:
    found: dict[int, Hypothesis | Exception] = {}
    over = threading.Semaphore(0)

    def done(place: int, heard: Hypothesis | Exception) -> None:
        found[place] = heard
        over.release()

    _engine().start(rows, done)
    for _ in rows:
        assert over.acquire(timeout=60), "a row was never told of"
    return [found[place] for place in range(len(rows))]
