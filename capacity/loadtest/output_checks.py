"""Whether what is asked for can be written and played, known before the hours of measuring and not after them."""

import os
from pathlib import Path

from capacity.corpus.clips import Corpus
from capacity.corpus.playlist import is_cut
from capacity.loadgen.sender import PLAYLIST_SECONDS
from whisper_ops.errors import UserError


def check_file(what: str, path: Path) -> None:
    """Raises UserError when a file, such as "the report", cannot be written there."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UserError(f"cannot write {what} {path}: there is no folder {folder}; make it, or name another")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise UserError(f"cannot write {what} {path}: it may not be written there; name another folder")


def check_transcripts(folder: Path) -> None:
    """Raises UserError when transcripts cannot be written there; the folder itself is made later."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"cannot write transcripts to {folder}: no file can be made in {there}; name another folder")


def check_lengths(corpus: Corpus, seconds: float) -> str | None:
    """What to say of clips that are too long to be said, when there are any.

    Args:
        corpus: the speech.
        seconds: how long the streams speak.

    Raises:
        UserError: all clips are too long, so that there would be no word to measure.
    """
    room = min(seconds, PLAYLIST_SECONDS)
    lengths = sorted(clip.seconds for clip in corpus.clips)
    too_long = sum(length > room and not is_cut(length, room) for length in lengths)
    if too_long == len(lengths):
        raise UserError(
            f"the shortest clip of {corpus.folder} lasts {lengths[0]:.1f} s, and a stream says whole clips of at most "
            f"{room:.1f} s; cut the speech into utterances"
            + (", or give a longer --duration" * (room < PLAYLIST_SECONDS))
        )
    if too_long:
        return f"{too_long} of {len(lengths)} clips are longer than the {room:.1f} s of a stream, and are never said"
    return None
