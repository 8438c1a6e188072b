"""The audio of a stream that no final covers yet, kept in the front process in case its worker dies."""

from collections import deque


class AudioLog:
    """Bytes of one stream, by position in samples. What is settled is dropped; the rest can be played again."""

    __slots__ = ("_bytes_per_sample", "_chunks", "begin", "end")

    def __init__(self, bytes_per_sample: int, origin: int = 0) -> None:
        self._bytes_per_sample = bytes_per_sample
        self._chunks: deque[bytes] = deque()
        self.begin = self.end = origin

    def append(self, data: bytes) -> None:
        """Add a chunk of whole samples."""
        self._chunks.append(data)
        self.end += len(data) // self._bytes_per_sample

    def settle(self, position: int) -> None:
        """Drop whole chunks that lie before `position`."""
        while self._chunks:
            after = self.begin + len(self._chunks[0]) // self._bytes_per_sample
            if after > position:
                break
            self.begin = after
            self._chunks.popleft()

    def replay(self, begin: int, end: int | None = None) -> list[bytes]:
        """The audio from one position to another, in chunks as they came, cut to lie exactly between them."""
        end = self.end if end is None else end
        size, at, found = self._bytes_per_sample, self.begin, []
        for chunk in self._chunks:
            after = at + len(chunk) // size
            if after > begin and at < end:
                found.append(chunk[max(0, begin - at) * size : (end - at) * size])
            at = after
        return found
