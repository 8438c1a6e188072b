"""A stream's own code over a real engine and real voice activity, as fast as it goes: time is the audio's."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from server import ipc
from server.engines.ctranslate2 import CTranslate2Engine
from server.engines.engine import Engine, Hypothesis
from server.worker.decode_windows import BOUNDED, WindowRule
from server.worker.scheduler import contexts_from
from server.worker.stream import DecodeWindow, Stream
from server.worker.vad import SileroVad


@dataclass
class Heard:
    """What became of some audio."""

    finals: list[ipc.Final] = field(default_factory=list)
    partials: list[ipc.Partial] = field(default_factory=list)
    windows: list[tuple[DecodeWindow, Hypothesis]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(final.text for final in self.finals)


def engine(path: Path, threads: int = 2) -> Engine:
    """CTranslate2 over a model's folder, loaded."""
    made = CTranslate2Engine(path, "cpu", "default", 1, threads)
    made.load()
    return made


def hear(
    engine: Engine,
    samples: NDArray[np.int16],
    rate: int,
    language: str | None = None,
    chunk_seconds: float = 0.1,
    *,
    rule: WindowRule = BOUNDED,
    cadence: float = 0.5,
    behind: bool = False,
    words: bool = False,
    least_context_s: float = 0.0,
) -> Heard:
    """Play it in real time to a stream whose windows cost no time."""
    heard, now = Heard(), 0.0
    stream = Stream(
        ipc.Open(1, rate, "pcm_s16le", language, words, 0.0, 0),
        SileroVad(),
        cadence,
        contexts=contexts_from(least_context_s, mixed=rule.own_contexts),
        rule=rule,
    )
    stream.behind = behind

    def work() -> None:
        while (job := stream.job()) and job.due <= now:
            window = stream.take(now, job.context)
            (hypothesis,) = engine.decode([window.row])
            heard.windows.append((window, hypothesis))
            stream.apply(window, hypothesis, now)
        heard.finals += [event for event in stream.events if isinstance(event, ipc.Final)]
        heard.partials += [event for event in stream.events if isinstance(event, ipc.Partial)]
        stream.events.clear()

    step = round(rate * chunk_seconds)
    for begin in range(0, len(samples), step):
        now += chunk_seconds
        stream.feed(samples[begin : begin + step].tobytes(), now)
        work()
    stream.end(now)
    while stream.job():
        now += 1.0
        work()
    work()
    return heard
