"""What each stream got for each utterance, beside what was said."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from capacity.corpus.clips import Clip, Corpus
from capacity.loadgen.messages import StreamResult
from capacity.loadgen.utterance_text import UtteranceText


class UtteranceTranscript(msgspec.Struct, frozen=True):
    """One utterance of a stream."""

    file: str
    """Its sound file, below the corpus's folder."""
    said: str
    shown: str


class StreamTranscript(msgspec.Struct, frozen=True):
    """What one stream of a level said and got."""

    streams: int
    repeat: int
    number: int
    outcome: str
    utterances: tuple[UtteranceTranscript, ...]
    said: str
    """All of it, normalised: what the word errors are counted from."""
    shown: str


def transcripts(streams: int, repeat: int, results: Iterable[StreamResult], corpus: Corpus) -> list[StreamTranscript]:
    """The texts of a level, apart from all else that was measured: a soak has hundreds of levels."""
    clips = {clip.name: clip for clip in corpus.clips}
    return [
        StreamTranscript(
            streams,
            repeat,
            result.number,
            result.outcome,
            tuple(_said(one, clips) for one in result.utterances),
            result.reference or "",
            result.text or "",
        )
        for result in results
    ]


def _said(one: UtteranceText, clips: Mapping[str, Clip]) -> UtteranceTranscript:
    clip = clips.get(one.clip)
    if clip is None:
        return UtteranceTranscript(one.clip, one.said, one.shown)
    # Of an utterance that was broken off only the words that were sent.
    return UtteranceTranscript(
        clip.file or clip.name, clip.text if one.words == len(clip.tokens) else one.said, one.shown
    )


def by_file(found: Sequence[StreamTranscript]) -> dict[str, list[dict[str, Any]]]:
    """Every utterance of every stream, under its sound file."""
    files: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        where = {"streams": one.streams, "repeat": one.repeat, "stream": one.number, "outcome": one.outcome}
        for utterance in one.utterances:
            row = {**where, "said": utterance.said, "shown": utterance.shown}
            files.setdefault(utterance.file, []).append(row)
    return {file: files[file] for file in sorted(files)}
