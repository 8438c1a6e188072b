"""The speech that a load test plays: clips with their text and the moment at which each word ends.

A corpus is a folder of `NAME.wav` (or any container PyAV reads) beside `NAME.txt`; LJSpeech's `metadata.csv` and
LibriSpeech's `.trans.txt` are read too. Word times lie beside the audio as `NAME.words.json`.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from platformdirs import user_cache_path

from capacity.corpus.audio_files import Samples, read_audio
from capacity.corpus.normalization import equal_runs, normalise
from capacity.corpus.pauses import silent_share
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.lenient_json import decode_strictly

RATE = 16000
"""Hertz at which clips are held; what every server of this kind takes."""

PAUSE_SECONDS = 0.4
"""Between two clips of somebody who is always on."""
_AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
_ENCODING = "utf-8-sig"
"""UTF-8, whether or not an editor put a mark before it."""
_TEXT_BYTES = 2**20
"""Of the text of one clip: a day of speech."""
_LISTING_BYTES = 64 * 2**20
"""Of a list of transcripts, or the times of every word: LibriSpeech's longest has 30 kB, LJSpeech's 3 MB."""
_SILENT = 33
"""A peak below, a thousandth of full scale, is no speech."""
_OUTLAST_SECONDS = 0.5
"""So far beyond their sound word times may lie: offline passes round, and pad."""


def pause_seconds(clip_seconds: float, duty_cycle: float) -> float:
    """The silence after a clip of so many seconds, of somebody who speaks for such a share of the time."""
    return max(clip_seconds * (1 - duty_cycle) / duty_cycle, PAUSE_SECONDS)


class ClipWord(msgspec.Struct, frozen=True):
    """A word as written, and when it is spoken: seconds from the clip's start."""

    word: str
    start: float
    end: float


class WordTimes(msgspec.Struct, frozen=True):
    """`NAME.words.json`: the offline pass that found the times, and the times."""

    source: str
    words: tuple[ClipWord, ...]


class Token(msgspec.Struct, frozen=True):
    """A normalised word and the second at which it ends in its clip."""

    word: str
    end: float


class Clip(msgspec.Struct, frozen=True):
    """One utterance: its sound, its text, and its normalised words with their ends."""

    name: str
    text: str
    samples: Samples
    tokens: tuple[Token, ...]
    file: str = ""
    """Its sound file, below the corpus's folder."""

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return len(self.samples) / RATE


class Corpus(msgspec.Struct, frozen=True):
    """Clips from one folder, in the order of their names; `unreadable` names what was left out, with the reason."""

    folder: Path
    clips: tuple[Clip, ...]
    content: str
    """Hash of texts and sound: two sweeps with the same one played the same speech."""
    unreadable: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name and the content hash: what a sweep's row keeps."""
        return f"{self.folder.name}@{self.content}"

    def pause_share(self, duty_cycle: float = 1.0) -> float | None:
        """The share of the time in which nobody speaks when this is played: pauses in clips and after them."""
        share = silent_share(((c.samples, pause_seconds(c.seconds, duty_cycle)) for c in self.clips), RATE)
        return None if share is None else round(share, 3)


class CorpusSource(msgspec.Struct, frozen=True):
    """A sound file with its transcript, not yet read."""

    audio: Path
    text: str
    complaint: str = ""
    """Why its text cannot be used, in one sentence; empty: it can."""

    @property
    def times_path(self) -> Path:
        """Where its word times lie."""
        return self.audio.with_suffix(".words.json")


def default_folder() -> Path:
    """WHISPER_OPS_CORPUS, else a folder in the user's cache."""
    return named_folder() or user_cache_path("whisper-ops") / "speech"


def named_folder() -> Path | None:
    """What WHISPER_OPS_CORPUS names."""
    named = os.environ.get("WHISPER_OPS_CORPUS")
    return Path(named) if named else None


def find_sources(folder: Path) -> list[CorpusSource]:
    """Every sound file below `folder`, in the order of names; those without a transcript with a complaint.

    Raises:
        UserError: there is no such folder, nothing in it has a transcript, or a list of transcripts cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"there is no corpus at {folder}; `whisper-ops corpus make` makes one")
    found = {source.audio: source for source in _sources(folder)}
    if not found:
        raise UserError(
            f"no sound with a transcript in {folder}; "
            "put NAME.txt beside each NAME.wav, or run `whisper-ops corpus make`"
        )
    for audio in _sounds(folder):
        if audio not in found:
            found[audio] = CorpusSource(audio, "", f"{audio} has no transcript; put {audio.stem}.txt beside it")
    return [found[audio] for audio in sorted(found)]


def load(folder: Path, on_times: Callable[[list[CorpusSource]], None] | None = None) -> Corpus:
    """Read a corpus. A file that cannot be read is left out and named in `unreadable`.

    Args:
        folder: where it lies.
        on_times: called with the sources that have no word times yet, to make them.

    Raises:
        UserError: there is no corpus, or not one clip of it can be used.
    """
    sources = find_sources(folder)
    untimed = [source for source in sources if not source.complaint and not source.times_path.exists()]
    if untimed and on_times is not None:
        on_times(untimed)
    clips: list[Clip] = []
    unreadable: list[str] = []
    digest = hashlib.sha256()
    for source in sources:
        try:
            clip = _read(source, folder)
        except UserError as error:
            unreadable.append(str(error))
            continue
        digest.update(clip.text.encode())
        digest.update(clip.samples.tobytes())
        clips.append(clip)
    if not clips:
        raise UserError(f"not one clip of {folder} can be used: {unreadable[0]}")
    return Corpus(folder, tuple(clips), digest.hexdigest()[:12], tuple(unreadable))


def tokens_of(text: str, words: tuple[ClipWord, ...]) -> tuple[Token, ...]:
    """The normalised words of a text with the ends of the written words they come from.

    Normalisation joins and splits words ("twenty five" is 25, "I'm" is "i am"): what has no counterpart of its own ends
    with the next word that has one.
    """
    flat = [(token, word.end) for word in words for token in normalise(word.word)]
    wanted = normalise(text)
    ends: list[float | None] = [None] * len(wanted)
    for ours, theirs, length in equal_runs(wanted, tuple(token for token, _ in flat)):
        for k in range(length):
            ends[ours + k] = flat[theirs + k][1]
    following = words[-1].end if words else 0.0
    for k in range(len(wanted) - 1, -1, -1):
        following = ends[k] = ends[k] if ends[k] is not None else following  # type: ignore[assignment]  # not None now
    return tuple(Token(word, end) for word, end in zip(wanted, ends, strict=True) if end is not None)


def _read(source: CorpusSource, folder: Path) -> Clip:
    if source.complaint:
        raise UserError(source.complaint)
    samples = read_audio(source.audio, RATE)
    if np.abs(samples.astype(np.int32)).max() < _SILENT:
        raise UserError(f"{source.audio} holds only silence, and its text {counted(len(source.text.split()), 'word')}")
    times = _times(source, len(samples) / RATE, folder)
    file = source.audio.relative_to(folder)
    return Clip(str(file.with_suffix("")), source.text, samples, tokens_of(source.text, times.words), str(file))


def _times(source: CorpusSource, seconds: float, folder: Path) -> WordTimes:
    path = source.times_path
    make = f"`whisper-ops corpus make --times {folder}`"
    if not path.exists():
        raise UserError(f"{source.audio} has no word times; run {make}")
    try:
        times = decode_strictly(_text(path, _LISTING_BYTES), WordTimes)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise UserError(f"cannot read the word times {path}: {error}; delete the file and run {make}") from error
    if not times.words:
        raise UserError(f"there is not one word in the word times {path}; delete the file and run {make}")
    for word in times.words:
        # A wrong end would make latencies that nobody could tell from real ones.
        if not -_OUTLAST_SECONDS <= word.end <= seconds + _OUTLAST_SECONDS:
            raise UserError(
                f"the word times {path} end {word.word!r} at {word.end:g} s, and the sound lasts {seconds:.1f} s; "
                f"delete the file and run {make}"
            )
    return times


def _sources(folder: Path) -> Iterator[CorpusSource]:
    yield from _ljspeech(folder)
    for listing in sorted(folder.rglob("*.trans.txt")):
        yield from _librispeech(listing)
    for audio in _sounds(folder):
        path = audio.with_suffix(".txt")
        if path.exists():
            yield _beside(audio, path)


def _sounds(folder: Path) -> list[Path]:
    # A pipe or a device of that name would be waited for without end.
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _AUDIO and path.is_file())


def _beside(audio: Path, path: Path) -> CorpusSource:
    try:
        return _source(audio, _text(path, _TEXT_BYTES), path)
    except (OSError, UnicodeDecodeError) as error:
        return CorpusSource(audio, "", f"cannot read the text {path}: {_why(error)}")


def _source(audio: Path, text: str, found_in: Path) -> CorpusSource:
    # Of "[music]" normalisation leaves nothing, and of "..." the dots.
    complaint = (
        ""
        if any(map(str.isalnum, "".join(normalise(text))))
        else f"the text of {audio.name} in {found_in} has no words"
    )
    return CorpusSource(audio, text.strip(), complaint)


def _text(path: Path, limit: int) -> str:
    """A file's text. A pipe, a device and a file without end are none."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        read = file.read(limit + 1)
    if len(read) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit // 2**20} MiB")
    return read.decode(_ENCODING)


def _why(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 at byte {error.start}; convert it, as iconv does"
    return error.strerror or str(error)


def _lines(listing: Path) -> list[str]:
    try:
        return _text(listing, _LISTING_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the transcripts {listing}: {_why(error)}") from error


def _ljspeech(folder: Path) -> Iterator[CorpusSource]:
    listing = folder / "metadata.csv"
    if not listing.exists():
        return
    for line in _lines(listing):
        # name|as written|with numbers spelled out
        name, *texts = line.split("|")
        audio = folder / "wavs" / f"{name}.wav"
        if texts and audio.exists():
            yield _source(audio, texts[-1], listing)


def _librispeech(listing: Path) -> Iterator[CorpusSource]:
    for line in _lines(listing):
        name, _, text = line.partition(" ")
        for suffix in _AUDIO:
            audio = listing.parent / f"{name}{suffix}"
            if text and audio.exists():
                yield _source(audio, text, listing)
                break
