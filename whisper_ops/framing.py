"""How messages travel between our own processes: four bytes of length, the lowest first, then the message."""

import struct
from collections.abc import Iterator
from typing import Protocol

_LENGTH = struct.Struct("<I")
HEADER_BYTES = _LENGTH.size


def frame(body: bytes) -> bytes:
    """A message as it goes into the pipe."""
    return _LENGTH.pack(len(body)) + body


def body_bytes(header: bytes) -> int:
    """The length of the message that follows a header."""
    return int(_LENGTH.unpack(header)[0])


class FrameReader(Protocol):
    """What is read from; `asyncio.StreamReader` is one. A process that decodes one file need not import asyncio."""

    async def readexactly(self, count: int, /) -> bytes:
        """So many bytes; `EOFError` where there are fewer."""
        ...


async def read_frame(reader: FrameReader) -> bytes | None:
    """The next message; None at the end, and of one that was cut off."""
    try:
        return await reader.readexactly(body_bytes(await reader.readexactly(HEADER_BYTES)))
    except (EOFError, ConnectionError):  # asyncio's IncompleteReadError is an EOFError
        return None


class Frames:
    """Cuts bytes, as they come, into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def cut(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now. Take all of them: what is left waits for more."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= HEADER_BYTES:
            (length,) = _LENGTH.unpack_from(buffer, at)
            begin = at + HEADER_BYTES
            if len(buffer) - begin < length:
                break
            yield bytes(buffer[begin : begin + length])
            at = begin + length
        if at:
            del buffer[:at]
