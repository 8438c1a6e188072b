"""A stream's audio: appended at one end, dropped at the other, sliced by absolute position."""

import numpy as np

from server.audio_formats import Samples

_EMPTY: Samples = np.zeros(0, np.float32)


class AudioBuffer:
    """Samples from `begin` to `end`, both absolute. Empty, it holds no memory."""

    __slots__ = ("_data", "_head", "_tail", "begin")

    def __init__(self, origin: int) -> None:
        self.begin = origin
        self._data = _EMPTY
        self._head = self._tail = 0

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self.begin + self._tail - self._head

    def append(self, samples: Samples) -> None:
        """Add samples at the end."""
        if self._tail + len(samples) > len(self._data):
            held = self._data[self._head : self._tail]
            # Half as much again as needed: appending stays linear, and dropping gives the memory back here.
            grown = np.empty((len(held) + len(samples)) * 3 // 2, np.float32)
            grown[: len(held)] = held
            self._data, self._head, self._tail = grown, 0, len(held)
        self._data[self._tail : self._tail + len(samples)] = samples
        self._tail += len(samples)

    def slice(self, start: int, end: int) -> Samples:
        """A copy of the samples from `start` to `end`, as far as they are held."""
        low = max(0, start - self.begin) + self._head
        return self._data[low : max(low, min(self._tail, end - self.begin + self._head))].copy()

    def drop(self, position: int) -> None:
        """Forget everything before `position`."""
        count = min(max(0, position - self.begin), self._tail - self._head)
        self._head += count
        self.begin += count
