"""The three standard streams, which may be closed, on a full disk, or a pipe that nobody reads."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from whisper_ops.errors import UserError
from whisper_ops.units import whole
from whisper_ops.user_files import reason


class OutputError(UserError, OSError):
    """Results could not be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {reason(error)}")
        self.strerror = reason(error)


class ReaderGone(Exception):  # noqa: N818  # nothing went wrong
    """Nobody reads what is written. It is no BrokenPipeError, since rich ends the process with 1 at one."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Open closed streams, drop narration that cannot be written, and raise when results cannot.

    Raises:
        OutputError: standard output cannot be written.
    """
    _open_closed_streams()
    _ignore_bad_settings()
    out, err = sys.stdout, sys.stderr
    results = _Results(out)
    sys.stdout, sys.stderr = cast("TextIO", results), cast("TextIO", _Narration(err))
    try:
        yield
        results.flush()
    finally:
        sys.stdout, sys.stderr = out, err
        try:
            results.flush()
        except (OSError, ReaderGone):
            _discard_unwritten(out)


class _Stream:
    """A stream whose writing may fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the stream has
        return getattr(self._stream, name)


class _Results(_Stream):
    """Results that are lost are an error; a reader that went away is not, as `| head` does."""

    lost: OutputError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError as error:
            self.lost = OutputError(error)
            raise self.lost from error

    def flush(self) -> None:
        if self.lost is not None:
            raise self.lost
        try:
            if not self._stream.closed:
                self._stream.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError as error:
            self.lost = OutputError(error)
            raise self.lost from error


class _Narration(_Stream):
    """Narration that cannot be written is lost; work goes on."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _open_closed_streams() -> None:
    """Open /dev/null for closed streams: their numbers would go to the next file opened, such as the history."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")  # as long as the process
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")  # as long as the process


def _ignore_bad_settings() -> None:
    """Settings on which printing would fail: a COLUMNS that is no number, an encoding without our letters."""
    for variable in ("COLUMNS", "LINES"):
        if variable in os.environ and whole(os.environ[variable]) is None:
            del os.environ[variable]
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(encoding).name != "utf-8":
            stream.reconfigure(errors="replace")


def _discard_unwritten(stream: TextIO) -> None:
    """Send unwritten output to /dev/null: Python would try to write it again as it ends, fail and print that."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
