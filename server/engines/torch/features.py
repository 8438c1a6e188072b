"""Log-mel features of a whole batch on the device. Frames of a stream are kept: a window that grew needs new ones only.

Whisper's features of a window depend on its loudest frame, so what is kept is the logarithm before that: raw frames,
which stay as they are once all their sound is there.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from server.audio_formats import Samples
from server.engines.mel import FFT, FRAMES_PER_SECOND, HOP, fill, filters, sounding_frames, whole_frames
from server.engines.torch.device_runtime import DeviceRuntime

_SILENCE = -10.0
"""The logarithm of Whisper's smallest power."""
_LONGEST = 30 * FRAMES_PER_SECOND


@dataclass
class _Kept:
    """Where a stream's frames are, and how many of them are whole."""

    place: int
    whole: int = 0


class Features:
    """Makes features, and keeps the frames of `streams` windows, the least recently used of which goes first."""

    def __init__(self, runtime: DeviceRuntime, mels: int, streams: int) -> None:
        self._runtime = runtime
        device = runtime.device
        self._transform = torch.from_numpy(_transform()).to(device)
        self._filters = torch.from_numpy(filters(mels)).to(device)
        # The last place is written to by frames that nobody wants.
        self._frames = torch.full((streams + 1, _LONGEST, mels), _SILENCE, device=device)
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._free = list(range(streams))
        self._trash = streams
        self.made = 0
        """Frames computed so far."""

    @staticmethod
    def size(mels: int, streams: int) -> int:
        """Bytes that so many windows take."""
        return (streams + 1) * _LONGEST * mels * 4

    def batch(self, keys: Sequence[Hashable | None], audios: Sequence[Samples], frames: int) -> Any:  # noqa: ANN401  # torch
        """Float32 features [B, mels, frames] of audio followed by digital silence; what is longer is cut off.

        Args:
            keys: of each row, what names its window's begin; None: nothing is kept of it.
            audios: of each row, its samples from that begin.
            frames: mel frames, 100 a second.
        """
        cut = [audio[: frames * HOP] for audio in audios]
        taken = [self._take(key) for key in keys]
        begins = [min(kept.whole, whole_frames(len(audio))) for kept, audio in zip(taken, cut, strict=True)]
        ends = [sounding_frames(len(audio), frames) for audio in cut]
        try:
            self._make(taken, cut, begins, ends)
            places = np.array([kept.place for kept in taken], np.int64)
            raw = self._frames[self._uploaded(places), :frames]
        except BaseException:
            for key in keys:
                self.forget(key)
            raise
        for kept, audio in zip(taken, cut, strict=True):
            kept.whole = max(kept.whole, whole_frames(len(audio)))
        self._free += [kept.place for key, kept in zip(keys, taken, strict=True) if key is None]
        sounding = self._uploaded(np.array(ends, np.int64))
        heard = torch.arange(frames, device=self._runtime.device) < sounding[:, None]
        raw = torch.where(heard[:, :, None], raw, torch.full_like(raw, _SILENCE))
        floor = raw.amax(dim=(1, 2), keepdim=True) - 8.0
        return ((torch.maximum(raw, floor) + 4.0) / 4.0).transpose(1, 2)

    def _uploaded(self, data: NDArray[Any]) -> Any:  # noqa: ANN401  # torch's
        target = torch.empty(data.shape, dtype=torch.from_numpy(data).dtype, device=self._runtime.device)
        self._runtime.upload(target, data)
        return target

    def forget(self, key: Hashable | None) -> None:
        """Keep nothing of a window, whose frames may be no numbers."""
        if key in self._kept:
            self._free.append(self._kept.pop(key).place)

    def _take(self, key: Hashable | None) -> _Kept:
        kept = self._kept.get(key) if key is not None else None
        if kept is None:
            place = self._free.pop() if self._free else self._kept.popitem(last=False)[1].place
            kept = _Kept(place)
            if key is not None:
                self._kept[key] = kept
        if key is not None:
            self._kept.move_to_end(key)
        return kept

    def _make(self, taken: Sequence[_Kept], audios: Sequence[Samples], begins: list[int], ends: list[int]) -> None:
        """Compute the frames from `begins` to `ends` of each row, and put them to the others."""
        rows = len(audios)
        counts = [max(0, end - begin) for begin, end in zip(begins, ends, strict=True)]
        most = max(counts, default=0)
        self.made += sum(counts)
        if not most:
            return
        lines = np.zeros((rows, (most - 1) * HOP + FFT), np.float32)
        for line, audio, begin, count in zip(lines, audios, begins, counts, strict=True):
            fill(line, audio, begin * HOP - FFT // 2, count)
        sound = self._uploaded(lines)
        cosines, sines = (sound.unfold(1, FFT, HOP) @ self._transform).chunk(2, dim=-1)
        power = cosines.square() + sines.square()
        made = (power @ self._filters.T).clamp_min(1e-10).log10()
        places = np.full((rows, most), self._trash, np.int64)
        at = np.zeros((rows, most), np.int64)
        for i, (kept, begin, count) in enumerate(zip(taken, begins, counts, strict=True)):
            places[i, :count] = kept.place
            at[i, :count] = np.arange(begin, begin + count)
        where = self._uploaded(np.stack((places, at)))
        self._frames[where[0], where[1]] = made


def _transform() -> NDArray[np.float32]:
    """The window and the Fourier transform as one matrix [400, 2·201].

    A GPU's FFT makes a plan for each number of frames, and here every batch has another one; a product needs none.
    """
    time, bins = np.arange(FFT), np.arange(FFT // 2 + 1)
    turns = 2 * np.pi * np.outer(time, bins) / FFT
    window = np.hanning(FFT + 1)[:-1, None]
    return np.asarray(np.concatenate((window * np.cos(turns), window * np.sin(turns)), axis=1), np.float32)
