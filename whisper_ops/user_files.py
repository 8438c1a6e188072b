"""Files that users name: read within bounds, whatever stands behind the name, and every failure is one sentence."""

import os
import select
import stat
import time
import tomllib
from pathlib import Path
from typing import Any

from whisper_ops.errors import UserError
from whisper_ops.formatting import binary_size

MOST_BYTES = 2**20
PIPE_SECONDS = 5.0
"""So long a pipe may say nothing: `--token-file <(command)` is a pipe, and one that nobody writes to never ends."""
_PIECE = 2**16


def read_bytes(path: Path, what: str = "", most: int = MOST_BYTES) -> bytes:
    """All of a file of at most `most` bytes; `what` stands before its name in a sentence, such as "the token file ".

    Raises:
        UserError: it cannot be read, is larger, or is a pipe that says nothing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _read(descriptor, path, what, most)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {what}{path}: {reason(error)}") from error


def read_text(path: Path, what: str = "", most: int = MOST_BYTES) -> str:
    """A file of UTF-8 text, with or without its mark.

    Raises:
        UserError: as `read_bytes`, or it is no text.
    """
    data = read_bytes(path, what, most)
    try:
        if b"\0" not in data:
            return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise UserError(f"cannot read {what}{path}: it is not UTF-8 text")


def read_toml(path: Path, what: str = "") -> dict[str, Any]:
    """A TOML file.

    Raises:
        UserError: as `read_text`, or it is no TOML.
    """
    return parse_toml(read_text(path, what), path)


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """The text of a TOML file; UserError where it is none."""
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UserError(f"{path} is no valid TOML: it is nested too deep") from error
    except ValueError as error:  # a TOMLDecodeError, or a number of more digits than Python takes
        raise UserError(f"{path} is no valid TOML: {error}") from error


def write_text(path: Path, text: str, what: str) -> None:
    """Write a file that a user asked for; UserError where it cannot be."""
    try:
        path.write_text(text, "utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {what}{path}: {reason(error)}") from error


def check_database(path: Path) -> None:
    """Raise UserError for what can be no history by its kind: SQLite waits forever to open a pipe."""
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise UserError(f"cannot open the history {path}: {reason(error)}") from error
    if stat.S_ISDIR(kind):
        raise UserError(f"{path} is a folder; name a file for the history")
    if not stat.S_ISREG(kind):
        raise UserError(f"{path} is a pipe or a device; name a file for the history")


def reason(error: Exception) -> str:
    """Why something failed, in the system's words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _read(descriptor: int, path: Path, what: str, most: int) -> bytes:
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(None, "it is a directory")
    pieces: list[bytes] = []
    size = 0
    deadline = time.monotonic() + PIPE_SECONDS
    while size <= most:
        if not stat.S_ISREG(kind) and not _ready(descriptor, deadline):
            raise UserError(f"cannot read {what}{path}: nothing came out of it within {PIPE_SECONDS:g} s")
        piece = os.read(descriptor, _PIECE)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    raise UserError(f"cannot read {what}{path}: it holds more than {binary_size(most)}")


def _ready(descriptor: int, deadline: float) -> bool:
    """Whether there is something to read, or an end, before the deadline."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return bool(poll.poll(max(deadline - time.monotonic(), 0) * 1000))
