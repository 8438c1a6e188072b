"""How far a command is, told to the program that started it: a small file that is replaced about once a second.

What a terminal would show, a bar and the time left, cannot be read out of printed lines. A program that shows a command
on a screen of its own names the file in the command's environment.
"""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from whisper_ops.lenient_json import decode_strictly

VARIABLE = "WHISPER_OPS_PROGRESS"
"""Names the file."""
_MOST_BYTES = 4000


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is being done, how much of the whole is over (0 to 1), and about how long it goes on."""

    doing: str
    done_ratio: float
    left_seconds: float


def tell(progress: Progress) -> None:
    """Write the file that the starting program named, if it named one."""
    named = os.environ.get(VARIABLE)
    if not named:
        return
    fresh = Path(f"{named}.new")
    with suppress(OSError):  # without it the other program shows the printed lines
        fresh.write_bytes(msgspec.json.encode(progress))
        fresh.replace(named)


def read(path: Path) -> Progress | None:
    """The last progress that was written; None for no file, or one that holds none."""
    try:
        with path.open("rb") as file:
            progress = decode_strictly(file.read(_MOST_BYTES), Progress)
    except (OSError, msgspec.MsgspecError):
        return None
    return progress if 0 <= progress.done_ratio <= 1 and 0 <= progress.left_seconds < float("inf") else None
