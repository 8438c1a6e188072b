"""Transcripts of a sweep as files: one for each stream of each level."""

from collections.abc import Sequence
from pathlib import Path

from capacity.loadtest.transcripts import StreamTranscript
from whisper_ops.errors import UserError


def write_transcripts(found: Sequence[StreamTranscript], folder: Path) -> None:
    """Write `STREAMS-REPEAT-NUMBER.txt` for every stream measured now.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            name = f"{one.streams:04}-{one.repeat}-{one.number:04}.txt"
            (folder / name).write_text(_page(one), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write transcripts to {folder}: {error.strerror or error}") from error


def _page(one: StreamTranscript) -> str:
    head = f"said: {one.said}\nshown: {one.shown}\noutcome: {one.outcome}\n"
    parts = (f"\n{part.file}\n  said: {part.said}\n  shown: {part.shown}\n" for part in one.utterances)
    return head + "".join(parts)
