"""Recordings of people with their texts, as others keep them: what `corpus make --source` reads.

A folder as `corpus` reads it (wav and txt, LJSpeech, LibriSpeech), or one of Asterisk's recorded prompts, whose texts
stand in a list of `NAME: TEXT` lines in the folder or where Debian puts it.
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from capacity.corpus.audio_files import Samples, read_audio
from capacity.corpus.clips import RATE, find_sources
from whisper_ops.errors import UserError

_LISTS = ("core-sounds-*.txt", "core-sounds-*.txt.gz")
_DEBIAN = "asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
_LIST_BYTES = 2**20
_NO_SPEECH = re.compile(r"[\[\]<>()]")
"""What stands in brackets in a list of prompts is no speech: tones, silence."""
_FEWEST_WORDS = 3
"""Of a prompt: single words and digits one after the other are nobody's talk."""


class Recording(NamedTuple):
    """Somebody's sound, not yet read, and what is said in it."""

    speaker: str
    text: str
    path: Path

    def samples(self) -> Samples:
        """Mono at the corpus's rate.

        Raises:
            UserError: the file cannot be read.
        """
        return read_audio(self.path, RATE)


def recordings(folder: Path, documents: Path = Path("/usr/share/doc")) -> list[Recording]:
    """The recordings below a folder that have a text, in the order of their names.

    Raises:
        UserError: there is none, or a list of texts cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder} to take recordings from")
    listing = _listing(folder, documents)
    found = list(_prompts(folder, listing) if listing is not None else _own(folder))
    if not found:
        raise UserError(f"no recording in {folder} has a text that can be used")
    return found


def _own(folder: Path) -> Iterator[Recording]:
    for source in find_sources(folder):
        if not source.complaint:
            yield Recording(_speaker(source.audio.relative_to(folder)), source.text, source.audio)


def _speaker(path: Path) -> str:
    """Who speaks: a folder below the source is one person's, as in LibriSpeech; what lies in no folder is another's."""
    return path.parts[0] if len(path.parts) > 1 else ""


def _listing(folder: Path, documents: Path) -> Path | None:
    beside = [path for pattern in _LISTS for path in sorted(folder.glob(pattern))]
    # Debian's folders are named en, en_US, en_US_f_Allison.
    debian = documents / _DEBIAN.format(language=folder.resolve().name[:2])
    asterisk = (folder / "vm-login.wav").is_file()
    return next((path for path in (*beside, *([debian] if asterisk else [])) if path.is_file()), None)


def _prompts(folder: Path, listing: Path) -> Iterator[Recording]:
    for line in _text(listing).splitlines():
        name, colon, text = (part.strip() for part in line.partition(":"))
        path = folder / f"{name}.wav"
        if not colon or name.startswith(";") or _NO_SPEECH.search(text) or len(text.split()) < _FEWEST_WORDS:
            continue
        # A name with .. in it would lead out of the folder.
        if path.resolve().is_relative_to(folder.resolve()) and path.is_file():
            yield Recording("", text, path)


def _text(listing: Path) -> str:
    try:
        with gzip.open(listing) if listing.suffix == ".gz" else listing.open("rb") as file:
            read = file.read(_LIST_BYTES + 1)
        if len(read) > _LIST_BYTES:
            raise UserError(f"the list of texts {listing} has more than {_LIST_BYTES // 2**20} MiB")
        return read.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list of texts {listing}: {error}") from error
