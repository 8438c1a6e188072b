"""Voice activity: Silero's network with its state carried from frame to frame, three frames a call.

Measured for 200 streams on one core: 0.55 of it frame by frame, 0.37 at three frames a call. Chunks that are digital
silence never reach the network.
"""

from collections import deque
from functools import cache
from typing import Any, Protocol

import numpy as np

from server.encodings import Samples

FRAME = 512
"""Samples a probability stands for: 32 ms."""
STEP = 3 * FRAME
"""Samples judged in one call while somebody speaks."""
QUIET_STEP = 6 * FRAME
"""Samples judged in one call while nobody does: two thirds of the cost, for at most 0.1 s before a word is noticed."""
_CONTEXT = 64
_SILENT = 10 ** (-60 / 20)
"""Below this peak (-60 dBFS) nobody speaks."""


class Vad(Protocol):
    """A stream's detector."""

    def __call__(self, samples: Samples) -> list[float]:
        """Speech probabilities, 0 to 1, one for each whole `FRAME` of the samples."""
        ...


@cache
def _session() -> Any:  # noqa: ANN401  # onnxruntime ships no annotations
    import onnxruntime  # noqa: PLC0415  # only a worker with a real engine needs it
    from faster_whisper.utils import get_assets_path  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    # Its pool would spin on cores that the decoder needs; a call takes a tenth of a millisecond on one.
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    path = f"{get_assets_path()}/silero_vad_v6.onnx"
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"], sess_options=options)


class SileroVad:
    """Silero v6 as faster-whisper ships it: rows of 576 samples, of which 64 repeat the row before."""

    __slots__ = ("_c", "_context", "_h")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._h = self._c = np.zeros((1, 1, 128), np.float32)
        self._context: Samples = np.zeros(_CONTEXT, np.float32)

    def __call__(self, samples: Samples) -> list[float]:
        """See `Vad`."""
        rows = len(samples) // FRAME
        if np.abs(samples).max(initial=0.0) < _SILENT:
            self._reset()
            return [0.0] * rows
        line = np.concatenate((self._context, samples))
        frames = np.lib.stride_tricks.sliding_window_view(line, FRAME + _CONTEXT)[::FRAME]
        out, self._h, self._c = _session().run(None, {"input": frames, "h": self._h, "c": self._c})
        self._context = line[-_CONTEXT:].copy()
        return [float(p) for p in np.ravel(out)]


class Voice:
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
