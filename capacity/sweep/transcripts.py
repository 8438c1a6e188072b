"""What each stream got, beside what was said, as text files on request."""

from pathlib import Path

from capacity.sweep.run import Outcome
from whisper_ops.errors import UserError


def write_transcripts(outcome: Outcome, folder: Path) -> int:
    """Write `STREAMS-REPEAT-NUMBER.txt` for every stream measured now; returns how many.

    Raises:
        UserError: the folder cannot be written.
    """
    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for level in outcome.measured:
            for stream in level.results:
                name = f"{level.streams:04}-{level.repeat}-{stream.number:04}.txt"
                body = f"said: {stream.reference or ''}\nshown: {stream.text or ''}\noutcome: {stream.outcome}\n"
                (folder / name).write_text(body, encoding="utf-8")
                count += 1
    except OSError as error:
        raise UserError(f"cannot write transcripts to {folder}: {error.strerror or error}") from error
    return count
