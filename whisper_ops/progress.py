"""How far a command is, told to the program that started it: a small file that is replaced about once a second.

What a terminal would show, a bar and the time left, cannot be read out of printed lines. A program that shows a command
on a screen of its own names the file in the command's environment.
"""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from whisper_ops.lenient_json import strictly

VARIABLE = "WHISPER_OPS_PROGRESS"
"""Names the file."""
_MOST_BYTES = 4000


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is being done, how much of the whole is over (0 to 1), and about how long it goes on."""

    doing: str
    done_ratio: float
    left_seconds: float


def tell(progress: Progress) -> None:
    """Leave it for whoever started us, if somebody asked for it."""
    named = os.environ.get(VARIABLE)
    if not named:
        return
    fresh = Path(f"{named}.new")
    with suppress(OSError):  # who does not get it shows the printed lines
        fresh.write_bytes(msgspec.json.encode(progress))
        fresh.replace(named)


def read(path: Path) -> Progress | None:
    """What was told last; None where nothing was, or nothing that can be."""
    try:
        with path.open("rb") as file:
            said = strictly(file.read(_MOST_BYTES), Progress)
    except (OSError, msgspec.MsgspecError):
        return None
    return said if 0 <= said.done_ratio <= 1 and 0 <= said.left_seconds < float("inf") else None
