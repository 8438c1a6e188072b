"""Log-mel features of a batch on the device. A window's frames are cached, so that a grown one needs new frames only.

Whisper scales a window's features by its loudest frame, so the cache holds the frames before that. A frame is final
once all of its audio has arrived.
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
class _WindowFrames:
    """A window's index in the cache, and how many of its frames are final."""

    place: int
    whole: int = 0


class Features:
    """Computes features, and caches the frames of the `streams` most recently used windows."""

    def __init__(self, runtime: DeviceRuntime, mels: int, streams: int) -> None:
        self._runtime = runtime
        device = runtime.device
        self._transform = torch.from_numpy(_transform()).to(device)
        self._filters = torch.from_numpy(filters(mels)).to(device)
        # The last index takes the padding of short rows.
        self._frames = torch.full((streams + 1, _LONGEST, mels), _SILENCE, device=device)
        self._windows: OrderedDict[Hashable, _WindowFrames] = OrderedDict()
        self._free = list(range(streams))
        self._trash = streams
        self.computed = 0
        """Frames computed so far."""

    @staticmethod
    def size(mels: int, streams: int) -> int:
        """Bytes of the cache for so many windows."""
        return (streams + 1) * _LONGEST * mels * 4

    def batch(self, keys: Sequence[Hashable | None], audios: Sequence[Samples], frames: int) -> Any:  # noqa: ANN401  # torch
        """Float32 features [B, mels, frames] of audio, padded with digital silence or cut to length.

        Args:
            keys: of each row, its window's identity; None: its frames are not cached.
            audios: of each row, its samples from the window's begin.
            frames: mel frames, 100 a second.
        """
        cut = [audio[: frames * HOP] for audio in audios]
        windows = [self._window(key) for key in keys]
        begins = [min(window.whole, whole_frames(len(audio))) for window, audio in zip(windows, cut, strict=True)]
        ends = [sounding_frames(len(audio), frames) for audio in cut]
        try:
            self._compute(windows, cut, begins, ends)
            places = np.array([window.place for window in windows], np.int64)
            raw = self._frames[self._uploaded(places), :frames]
        except BaseException:
            for key in keys:
                self.forget(key)
            raise
        for window, audio in zip(windows, cut, strict=True):
            window.whole = max(window.whole, whole_frames(len(audio)))
        self._free += [window.place for key, window in zip(keys, windows, strict=True) if key is None]
        sounding = self._uploaded(np.array(ends, np.int64))
        is_sounding = torch.arange(frames, device=self._runtime.device) < sounding[:, None]
        raw = torch.where(is_sounding[:, :, None], raw, torch.full_like(raw, _SILENCE))
        floor = raw.amax(dim=(1, 2), keepdim=True) - 8.0
        return ((torch.maximum(raw, floor) + 4.0) / 4.0).transpose(1, 2)

    def _uploaded(self, data: NDArray[Any]) -> Any:  # noqa: ANN401  # torch's
        target = torch.empty(data.shape, dtype=torch.from_numpy(data).dtype, device=self._runtime.device)
        self._runtime.upload(target, data)
        return target

    def forget(self, key: Hashable | None) -> None:
        """Drop a window from the cache, as its frames may be wrong."""
        if key in self._windows:
            self._free.append(self._windows.pop(key).place)

    def _window(self, key: Hashable | None) -> _WindowFrames:
        window = self._windows.get(key) if key is not None else None
        if window is None:
            place = self._free.pop() if self._free else self._windows.popitem(last=False)[1].place
            window = _WindowFrames(place)
            if key is not None:
                self._windows[key] = window
        if key is not None:
            self._windows.move_to_end(key)
        return window

    def _compute(
        self, windows: Sequence[_WindowFrames], audios: Sequence[Samples], begins: list[int], ends: list[int]
    ) -> None:
        """Compute the frames from `begins` to `ends` of each row into the cache."""
        rows = len(audios)
        counts = [max(0, end - begin) for begin, end in zip(begins, ends, strict=True)]
        most = max(counts, default=0)
        self.computed += sum(counts)
        if not most:
            return
        lines = np.zeros((rows, (most - 1) * HOP + FFT), np.float32)
        for line, audio, begin, count in zip(lines, audios, begins, counts, strict=True):
            fill(line, audio, begin * HOP - FFT // 2, count)
        sound = self._uploaded(lines)
        cosines, sines = (sound.unfold(1, FFT, HOP) @ self._transform).chunk(2, dim=-1)
        power = cosines.square() + sines.square()
        computed = (power @ self._filters.T).clamp_min(1e-10).log10()
        places = np.full((rows, most), self._trash, np.int64)
        at = np.zeros((rows, most), np.int64)
        for i, (window, begin, count) in enumerate(zip(windows, begins, counts, strict=True)):
            places[i, :count] = window.place
            at[i, :count] = np.arange(begin, begin + count)
        where = self._uploaded(np.stack((places, at)))
        self._frames[where[0], where[1]] = computed


def _transform() -> NDArray[np.float32]:
    """The window and the Fourier transform as one matrix [400, 2·201].

    A GPU's FFT needs a plan for each number of frames, which differs in every batch; a matrix product needs none.
    """
    time, bins = np.arange(FFT), np.arange(FFT // 2 + 1)
    turns = 2 * np.pi * np.outer(time, bins) / FFT
    window = np.hanning(FFT + 1)[:-1, None]
    return np.asarray(np.concatenate((window * np.cos(turns), window * np.sin(turns)), axis=1), np.float32)
