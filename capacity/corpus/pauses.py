"""Where a recording is silent, by its sound alone: for joining recordings, cutting long ones, and the share of pauses.

A frame of 20 ms is silent when it is 35 dB below the loud frames of its recording (the 95th percentile). That is a
property of the speech and not of any server's voice activity, so it is the same whoever is measured with it.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from capacity.corpus.audio_files import Samples

_FRAME_SECONDS = 0.02
_QUIETER_DB = 35.0
_LOUD = 0.95
PAUSE_SECONDS = 0.2
"""A shorter silence is part of speaking: the closure of a consonant, a breath that nobody notices."""


class Silence(NamedTuple):
    """A stretch of silence, in samples."""

    start: int
    end: int


def quiet_runs(samples: Samples, rate: int, least_seconds: float = PAUSE_SECONDS) -> list[Silence]:
    """The silences of a recording that last so long at least."""
    step = round(_FRAME_SECONDS * rate)
    count = len(samples) // step
    if not count:
        return []
    frames = samples[: count * step].astype(np.float64).reshape(count, step)
    power = np.mean(frames**2, axis=1)
    quiet = power < np.quantile(power, _LOUD) * 10 ** (-_QUIETER_DB / 10)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.astype(np.int8), [0]))))
    runs = [Silence(int(a) * step, int(b) * step) for a, b in edges.reshape(-1, 2)]
    # What is left after the last whole frame goes with it.
    runs = [Silence(run.start, len(samples)) if run.end == count * step else run for run in runs]
    return [run for run in runs if run.end - run.start >= least_seconds * rate]


def trimmed(samples: Samples, rate: int, kept_seconds: float = 0.02) -> Samples:
    """A recording without the silence before and after its speech."""
    kept, begin, end = round(kept_seconds * rate), 0, len(samples)
    for run in quiet_runs(samples, rate, _FRAME_SECONDS):
        if run.start == 0:
            begin = max(0, run.end - kept)
        elif run.end == len(samples):
            end = min(len(samples), run.start + kept)
    return samples[begin:end]


def silent_share(sounds: Iterable[tuple[Samples, float]], rate: int) -> float | None:
    """The share of time that is pauses, 0 to 1, of sounds that are each followed by so many seconds of silence.

    None without any sound.
    """
    silent = total = 0.0
    for samples, after in sounds:
        silent += sum(run.end - run.start for run in quiet_runs(samples, rate)) / rate + after
        total += len(samples) / rate + after
    return silent / total if total else None


def quiet_end(samples: Samples, rate: int, most: int, within_seconds: float = 8.0) -> int:
    """Where to end the first part of a long sound: in its longest silence shortly before sample `most`."""
    begin = max(0, most - round(within_seconds * rate))
    runs = quiet_runs(samples[begin:most], rate, _FRAME_SECONDS)
    if not runs:
        return most
    longest = max(runs, key=lambda run: run.end - run.start)
    return begin + (longest.start + longest.end) // 2
