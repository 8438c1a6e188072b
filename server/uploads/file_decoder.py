"""A file decoded in a process of its own (`server.uploads.decode_process`), read as fast as its samples are wanted.

Everything here blocks, with deadlines: call it in threads. What the process says is a stranger's word too: its lengths
and kinds are checked.
"""

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from typing import BinaryIO

from whisper_ops.framing import HEADER_BYTES, body_bytes

SILENT_SECONDS = 60.0
"""A process that gives no sound for so long, while it is waited for, is ended."""
_MOST_BYTES = 64 << 10
_MOST_SENTENCE = 300


class DecodeError(ValueError):
    """The file cannot be taken; the message is for the user."""


def memory_file() -> BinaryIO:
    """An empty file in no directory: in memory where the system has such files, else a temporary one."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("upload"), "w+b")
    return tempfile.TemporaryFile()


class FileDecoder:
    """One file's samples. `close` it, whatever happened; `end` also ends a `read` in another thread."""

    def __init__(self, file: BinaryIO, max_seconds: float) -> None:
        self._deadline = 0.0
        command = [sys.executable, "-m", "server.uploads.decode_process", f"{max_seconds:g}"]
        self._process = subprocess.Popen(
            command,
            stdin=file.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )

    def read(self) -> bytes:
        """The next samples, 16 bits at 16 kHz; none when there are no more.

        Raises:
            DecodeError: the file cannot be decoded.
        """
        self._deadline = time.monotonic() + SILENT_SECONDS
        kind, body = self._message()
        if kind == b"A" and body and not len(body) % 2:
            return body
        if kind == b"Z" and not body:
            return b""
        if kind == b"E" and 0 < len(body) <= _MOST_SENTENCE:
            raise DecodeError(body.decode(errors="replace"))
        raise DecodeError("the file takes too much time or memory to decode, or is damaged")

    def _message(self) -> tuple[bytes, bytes]:
        """Kind and body; no kind where the process did not send a whole message of a length that may be."""
        header = self._exactly(HEADER_BYTES)
        size = body_bytes(header) if len(header) == HEADER_BYTES else 0
        frame = self._exactly(size) if size <= _MOST_BYTES + 1 else b""
        return (frame[:1], frame[1:]) if len(frame) == size else (b"", b"")

    def _exactly(self, size: int) -> bytes:
        """So many bytes; fewer when the process has ended or the time is up."""
        pipe = self._process.stdout
        assert pipe is not None
        data = b""
        while len(data) < size:
            left = self._deadline - time.monotonic()
            try:
                if left <= 0 or not select.select([pipe], [], [], left)[0]:
                    break
                more = os.read(pipe.fileno(), size - len(data))
            except (OSError, ValueError):  # closed meanwhile
                break
            if not more:
                break
            data += more
        return data

    def end(self) -> None:
        """End the process; a `read` in another thread returns."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End the process and wait for its end."""
        self.end()
        with self._process:
            pass


def _environment() -> dict[str, str]:
    """What an interpreter needs to find its packages; no token or key of ours."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")
    return {name: os.environ[name] for name in kept if name in os.environ}
