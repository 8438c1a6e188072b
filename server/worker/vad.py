"""Voice activity: Silero's network with its state carried from frame to frame, batched over streams.

Measured at 560 streams that speak: 1.2 of a core stream by stream, 0.4 together (`make bench-host`). Chunks that are
digital silence never reach the network.
"""

from collections import deque
from collections.abc import Sequence
from itertools import compress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from server.audio_formats import Samples
from server.worker.silero import CONTEXT, FRAME, HIDDEN, network

STEP = 3 * FRAME
"""Samples judged in one call during speech."""
QUIET_STEP = 6 * FRAME
"""The same in silence: two thirds of the cost, and speech is noticed at most 0.1 s later."""
_SILENT = 10 ** (-60 / 20)
"""Chunks with a lower peak (-60 dBFS) are silence."""
_ZEROS = np.zeros(max(CONTEXT, 2 * HIDDEN), np.float32)
_ZEROS.flags.writeable = False


class Vad(Protocol):
    """A stream's voice activity detector."""

    def __call__(self, samples: Samples) -> list[float]:
        """Speech probabilities, 0 to 1, one for each whole `FRAME` of the samples."""
        ...


def judge(vads: Sequence[Vad], sounds: Sequence[Samples]) -> list[list[float]]:
    """Each detector's probabilities for its next samples; Silero detectors with equally many run as one batch."""
    results: list[list[float]] = [[] for _ in vads]
    alike: dict[int, list[tuple[int, SileroVad]]] = {}
    for place, (vad, sound) in enumerate(zip(vads, sounds, strict=True)):
        if isinstance(vad, SileroVad):
            alike.setdefault(len(sound) // FRAME, []).append((place, vad))
        else:
            results[place] = vad(sound)
    for count, some in alike.items():
        lines = np.stack([sounds[place][: count * FRAME] for place, _ in some])
        for (place, _), probabilities in zip(some, SileroVad.judge_batch([vad for _, vad in some], lines), strict=True):
            results[place] = probabilities
    return results


class SileroVad:
    """Silero v6: frames of 576 samples, of which 64 repeat the frame before."""

    __slots__ = ("context", "state")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.state = _ZEROS[: 2 * HIDDEN].reshape(2, HIDDEN)
        self.context: Samples = _ZEROS[:CONTEXT]

    def __call__(self, samples: Samples) -> list[float]:
        return judge([self], [samples])[0]

    @staticmethod
    def judge_batch(vads: "Sequence[SileroVad]", sounds: NDArray[np.float32]) -> list[list[float]]:
        """Each stream's probabilities, one for each frame. `sounds`: [B, frames · FRAME]."""
        count = sounds.shape[1] // FRAME
        # NaN fails this comparison too: otherwise it would stay in the state for ever.
        loud = np.abs(sounds).max(axis=1, initial=0.0) >= _SILENT
        for vad in compress(vads, ~loud):
            vad._reset()  # noqa: SLF001  # of this class
        results = iter(SileroVad._run(list(compress(vads, loud)), sounds[loud]) if loud.any() else ())
        return [next(results) if each else [0.0] * count for each in loud]

    @staticmethod
    def _run(vads: "Sequence[SileroVad]", sounds: NDArray[np.float32]) -> list[list[float]]:
        lines = np.concatenate((np.stack([vad.context for vad in vads]), sounds), axis=1)
        frames = np.lib.stride_tricks.sliding_window_view(lines, CONTEXT + FRAME, axis=1)[:, ::FRAME]
        probabilities, state = network()(frames, np.stack([vad.state for vad in vads], axis=1))
        for row, vad in enumerate(vads):
            # Copies: a view would hold the whole batch.
            vad.state, vad.context = state[:, row].copy(), lines[row, -CONTEXT:].copy()
        rows: list[list[float]] = probabilities.tolist()
        return rows


class VoiceActivity:
    """The speech probabilities of the frames that are kept, for means between two positions."""

    __slots__ = ("_ends", "_probabilities")

    def __init__(self) -> None:
        self._ends: deque[int] = deque()
        self._probabilities: deque[float] = deque()

    def add(self, end: int, probability: float) -> None:
        """The next frame, which ends at sample `end`."""
        self._ends.append(end)
        self._probabilities.append(probability)

    def mean(self, start: int, end: int) -> float:
        """Over the frames that end after `start` and not after `end`; 1 where none is known."""
        known = [p for at, p in zip(self._ends, self._probabilities, strict=True) if start < at <= end]
        return sum(known) / len(known) if known else 1.0

    def drop(self, position: int) -> None:
        """Forget the frames that end before `position`."""
        while self._ends and self._ends[0] < position:
            self._ends.popleft()
            self._probabilities.popleft()


class LevelVad:
    """Loudness alone, for the simulated engine: one host serves the streams of eight simulated GPUs."""

    __slots__ = ()

    def __call__(self, samples: Samples) -> list[float]:
        frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
        return [1.0 if level > 0.01 else 0.0 for level in np.abs(frames).mean(axis=1)]
