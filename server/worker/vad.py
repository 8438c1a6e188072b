"""Voice activity: Silero's network with its state carried from frame to frame, for all streams that have sound at once.

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
"""Samples judged in one call while somebody speaks."""
QUIET_STEP = 6 * FRAME
"""Samples judged in one call while nobody does: two thirds of the cost, for at most 0.1 s before a word is noticed."""
_SILENT = 10 ** (-60 / 20)
"""Below this peak (-60 dBFS) nobody speaks."""
_NOTHING = np.zeros(max(CONTEXT, 2 * HIDDEN), np.float32)
_NOTHING.flags.writeable = False


class Vad(Protocol):
    """A stream's detector."""

    def __call__(self, samples: Samples) -> list[float]:
        """Speech probabilities, 0 to 1, one for each whole `FRAME` of the samples."""
        ...


def judged(vads: Sequence[Vad], sounds: Sequence[Samples]) -> list[list[float]]:
    """What each stream's detector says of its next samples; those of Silero that have as many are run as one."""
    found: list[list[float]] = [[] for _ in vads]
    alike: dict[int, list[tuple[int, SileroVad]]] = {}
    for place, (vad, sound) in enumerate(zip(vads, sounds, strict=True)):
        if isinstance(vad, SileroVad):
            alike.setdefault(len(sound) // FRAME, []).append((place, vad))
        else:
            found[place] = vad(sound)
    for count, some in alike.items():
        lines = np.stack([sounds[place][: count * FRAME] for place, _ in some])
        for (place, _), probabilities in zip(some, SileroVad.together([vad for _, vad in some], lines), strict=True):
            found[place] = probabilities
    return found


class SileroVad:
    """Silero v6: frames of 576 samples, of which 64 repeat the frame before."""

    __slots__ = ("context", "state")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.state = _NOTHING[: 2 * HIDDEN].reshape(2, HIDDEN)
        self.context: Samples = _NOTHING[:CONTEXT]

    def __call__(self, samples: Samples) -> list[float]:
        """See `Vad`."""
        return judged([self], [samples])[0]

    @staticmethod
    def together(vads: "Sequence[SileroVad]", sounds: NDArray[np.float32]) -> list[list[float]]:
        """Of each stream its whole frames' probabilities. `sounds`: [B, frames · FRAME]."""
        count = sounds.shape[1] // FRAME
        # What is not a number is not loud enough either: else it would stay in the state for ever.
        loud = np.abs(sounds).max(axis=1, initial=0.0) >= _SILENT
        for vad in compress(vads, ~loud):
            vad._reset()  # noqa: SLF001  # of this class
        found = iter(SileroVad._run(list(compress(vads, loud)), sounds[loud]) if loud.any() else ())
        return [next(found) if each else [0.0] * count for each in loud]

    @staticmethod
    def _run(vads: "Sequence[SileroVad]", sounds: NDArray[np.float32]) -> list[list[float]]:
        lines = np.concatenate((np.stack([vad.context for vad in vads]), sounds), axis=1)
        frames = np.lib.stride_tricks.sliding_window_view(lines, CONTEXT + FRAME, axis=1)[:, ::FRAME]
        probabilities, state = network()(frames, np.stack([vad.state for vad in vads], axis=1))
        for row, vad in enumerate(vads):
            # Copies: a view would hold the whole batch.
            vad.state, vad.context = state[:, row].copy(), lines[row, -CONTEXT:].copy()
        told: list[list[float]] = probabilities.tolist()
        return told


class VoiceActivity:
    """The probabilities of the frames that are held: how sure it is that somebody spoke between two positions."""

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
    """Loudness alone, for the simulated engine: eight simulated GPUs' streams must not cost eight GPUs' hosts."""

    __slots__ = ()

    def __call__(self, samples: Samples) -> list[float]:
        """See `Vad`."""
        frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
        return [1.0 if level > 0.01 else 0.0 for level in np.abs(frames).mean(axis=1)]
