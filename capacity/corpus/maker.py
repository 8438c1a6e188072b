"""Making a corpus: sentences or passages spoken once by piper, or recordings of people joined; and word times."""

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from capacity.corpus.audio_files import read_audio, write_wav
from capacity.corpus.clips import RATE, default_folder, find_sources, named_folder
from capacity.corpus.normalization import normalise
from capacity.corpus.recordings import recordings
from capacity.corpus.stretches import Stretch, stretches
from capacity.corpus.word_times import OfflinePass, Progress, add_times
from whisper_ops import speech_synthesis
from whisper_ops.errors import UserError

Style = Literal["sentences", "passages"]
"""What piper reads: utterances with a pause after each, or paragraphs of most of a minute that hardly pause."""

_OURS = (".wav", ".txt", ".words.json")


def sentences(style: Style = "sentences") -> list[str]:
    """The texts that ship with whisper-ops, one clip each."""
    text = resources.files("capacity.corpus").joinpath(f"{style}.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def style_folder(style: Style) -> Path:
    """Where the corpus of a style lies when no folder is named."""
    return default_folder() if style == "sentences" else user_cache_path("whisper-ops") / style


def is_made(folder: Path, texts: Sequence[str]) -> bool:
    """Whether `folder` holds these sentences, with sound and word times."""
    if not folder.is_dir():
        return False
    found = find_sources(folder) if any(folder.iterdir()) else []
    usable = [source for source in found if not source.complaint]
    return {source.text for source in usable} == set(texts) and all(source.times_path.exists() for source in usable)


def make_default(progress: Progress, style: Style = "sentences") -> Path:
    """The corpus that is played when none is named; made in the user's cache where it is missing.

    A folder that WHISPER_OPS_CORPUS names is somebody's own, and never made by the way.

    Raises:
        UserError: it cannot be made.
    """
    folder = style_folder(style)
    if not folder.exists() and not (style == "sentences" and named_folder()):
        make(folder, sentences(style), progress)
    return folder


def make(folder: Path, texts: Sequence[str], progress: Progress, offline: OfflinePass | None = None) -> None:
    """Speak `texts` into `folder`: wav, txt and word times. All of it or, when stopped, nothing.

    What was made there before is replaced; a folder that holds anything else is left alone.

    Raises:
        UserError: a piece of the [speech] extra is missing, piper fails, or the folder holds other things.
    """
    missing = speech_synthesis.missing() + ["faster-whisper"] * (importlib.util.find_spec("faster_whisper") is None)
    if missing:
        needs = f"making speech needs {', '.join(missing)}"
        raise UserError(f"{needs}; install whisper-ops[speech], or name speech of your own with --corpus")
    _fill(folder, lambda scratch: _speak(texts, scratch, progress), offline or OfflinePass(), progress)


def make_from(
    folder: Path,
    source: Path,
    seconds: float,
    offline: OfflinePass,
    progress: Progress,
    complain: Callable[[str], None],
) -> None:
    """Join the recordings of `source` into stretches in `folder`: wav, txt and word times. All of it or nothing.

    Args:
        folder: the corpus; what was made there before is replaced.
        source: as `recordings` reads it.
        seconds: of all stretches at most, about.
        offline: what finds the word times.
        progress: told how far it is.
        complain: told of each recording that cannot be used.

    Raises:
        UserError: there is no stretch in it, or the folder holds other things.
    """
    found = recordings(source)

    def write(scratch: Path) -> None:
        made = 0
        for made, stretch in enumerate(stretches(found, seconds, complain), 1):
            progress("joining", made, made)
            _write(scratch, stretch)
        if not made:
            raise UserError(f"the recordings in {source} are less than 30 s of any speaker: too little for a stretch")

    _fill(folder, write, offline, progress)


def _write(folder: Path, stretch: Stretch) -> None:
    write_wav(folder / f"{stretch.name}.wav", stretch.samples, RATE)
    (folder / f"{stretch.name}.txt").write_text(stretch.text + "\n", encoding="utf-8")


def _fill(folder: Path, write: Callable[[Path], None], offline: OfflinePass, progress: Progress) -> None:
    foreign = [path.name for path in folder.glob("*") if not path.name.endswith(_OURS)]
    if foreign:
        raise UserError(f"{folder} holds other things ({foreign[0]}); name a new folder for the corpus")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
            scratch = Path(made)
            write(scratch)
            add_times(find_sources(scratch), progress, offline)
            if folder.exists():
                shutil.rmtree(folder)
            shutil.copytree(scratch, folder)
    except OSError as error:
        raise UserError(f"cannot write the corpus to {folder}: {error.strerror or error}") from error


def _speak(texts: Sequence[str], folder: Path, progress: Progress) -> None:
    spoken = folder / "piper"
    waves = speech_synthesis.synthesise(texts, spoken, lambda done: progress("speaking", done, len(texts)))
    for number, (wave, text) in enumerate(zip(waves, texts, strict=True), 1):
        name = f"{number:03}-{'-'.join(normalise(text)[:4])}"
        write_wav(folder / f"{name}.wav", read_audio(wave, RATE), RATE)
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(spoken)
    progress("speaking", len(texts), len(texts))
