"""faster-whisper's models through CTranslate2, on a CPU or one CUDA GPU.

`encode` and `generate` release the GIL and may be called from several threads. All rows of an encode share their
length; `<|startoftranscript|>` must stand at the same place of every prompt, so prompts never hold previous text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import numpy as np

from server.encodings import SAMPLE_RATE
from server.engines import mel
from server.engines.alignment import Text, Times, Timing
from server.engines.base import EngineInfo, Hypothesis, Row, TimedWord
from server.engines.loops import FEW, find_repeat, held, repetition, token_cap
from server.engines.texts import Texts

_REST_SECONDS = 0.5
"""Where a text was cut off, so much sound after its last word is decoded again."""
_RESTS = 3
"""So often at most. Each begins where the one before it ended."""
_SILENT, _POOR = 0.6, -1.0
"""Whisper's own rule for a window without speech: what it makes of a rest may not be worse."""
_LEAST_PROBABILITY = 1e-3
"""Less probable languages are left out."""


class CTranslate2Engine:
    """See `server.engines.base.Engine`."""

    def __init__(self, path: Path, device: str, compute_type: str, lanes: int, threads: int) -> None:
        self._path, self._device, self._lanes, self._threads = path, device, lanes, threads
        # On a CPU int8 is two to three times as fast as float32 and costs no measurable accuracy.
        self._compute_type = "int8" if compute_type == "default" and device == "cpu" else compute_type
        self._model: Any = None
        self._texts: Any = None

    def load(self) -> EngineInfo:
        """See `Engine`."""
        kind, _, index = self._device.partition(":")
        self._model = ctranslate2.models.Whisper(
            str(self._path),
            device=kind,
            device_index=int(index or 0),
            compute_type=self._compute_type,
            inter_threads=self._lanes,
            intra_threads=self._threads,
        )
        self._texts = Texts(self._path)
        self.decode([Row(np.zeros(mel.HOP * 100, np.float32), 8.0)])
        many = bool(self._model.is_multilingual)
        codes = self._texts.languages(multilingual=many)
        return EngineInfo(self._model.compute_type, "all" if many else "en", codes)

    def decode(self, rows: Sequence[Row]) -> list[Hypothesis]:
        """See `Engine`."""
        return self._decode(rows, _RESTS)

    def _decode(self, rows: Sequence[Row], rests: int) -> list[Hypothesis]:
        frames = round(rows[0].context_s * mel.FRAMES_PER_SECOND)
        batch = np.stack([mel.features(row.audio, frames, self._model.n_mels) for row in rows])
        encoded = self._model.encode(ctranslate2.StorageView.from_array(batch))
        languages = [_language(row, each) for row, each in zip(rows, self._probable(rows, encoded), strict=True)]
        prompts = [self._texts.prompt(each.code, multilingual=self._model.is_multilingual) for each in languages]
        cap = token_cap(max(len(row.audio) for row in rows) / SAMPLE_RATE)
        results = self._model.generate(
            encoded,
            prompts,
            beam_size=1,
            # CTranslate2 generates at most half of this, as Whisper keeps the other half for previous text.
            max_length=2 * cap,
            return_scores=True,
            return_no_speech_prob=True,
        )
        texts = [self._text(result, cap) for result in results]
        timing = Timing(self._model, encoded, prompts[0], rows)
        self._cut_loops(texts, timing)
        wanted = any(text.cut_off for text in texts) or any(row.words for row in rows)
        times = timing.of(texts) if wanted else [None] * len(rows)
        heard = [
            self._hypothesis(row, text, found, language, result.no_speech_prob)
            for row, text, found, language, result in zip(rows, texts, times, languages, results, strict=True)
        ]
        if rests:
            self._hear_rests(rows, heard, texts, rests)
        return [replace(each, words=each.words if row.words else None) for row, each in zip(rows, heard, strict=True)]

    def _hypothesis(
        self, row: Row, text: Text, times: Times | None, language: "_Language", no_speech: float
    ) -> Hypothesis:
        words = None
        if times is not None:
            # What is cut off ends where its last word does; else the last word has the time up to the end.
            text.end_s = (text.end_s or times.end_s) if text.cut_off else len(row.audio) / SAMPLE_RATE
            text.score = times.score if text.cut_off else text.score
            words = self._texts.timed(text.ids, times.first, times.chances, text.end_s)
        said = self._texts.decode(text.ids).strip()
        again = repetition([part for part in self._texts.parts(text.ids) if part])
        return Hypothesis(said, no_speech, text.score, words, *language, again)

    def _text(self, result: Any, cap: int) -> Text:  # noqa: ANN401  # CTranslate2 ships no annotations
        sequence = result.sequences_ids[0]
        ids = self._texts.said(sequence)
        return Text(ids, len(sequence) >= cap, float(result.scores[0]))

    def _cut_loops(self, texts: list[Text], timing: Timing) -> None:
        """Cut off what a text says again and its sound cannot hold."""
        all_parts = [self._texts.parts(text.ids) for text in texts]
        # One that ended by itself is no loop for the sake of a word or two.
        suspect = [
            find_repeat([part for part in parts if part], 1 if text.cut_off else 3)
            for text, parts in zip(texts, all_parts, strict=True)
        ]
        if not any(suspect):
            return
        timed = timing.of(texts)
        for text, parts, repeat, times in zip(texts, all_parts, suspect, timed, strict=True):
            if repeat is None:
                continue
            places = [i for i, part in enumerate(parts) if part]
            starts = [times.starts[i] for i in places] + [times.end_s]
            kept = held(repeat, np.diff(starts).tolist())
            if kept < len(places):
                text.ids, text.cut_off = text.ids[: places[kept]], True
                text.end_s = starts[kept] if repeat.period <= FEW else None

    def _hear_rests(self, rows: Sequence[Row], heard: list[Hypothesis], texts: Sequence[Text], rests: int) -> None:
        """Decode what lies after the last word that was kept, where that is more than a breath."""
        over = {
            i: text.end_s
            for i, (row, text) in enumerate(zip(rows, texts, strict=True))
            if text.cut_off and text.ids and text.end_s and len(row.audio) / SAMPLE_RATE - text.end_s >= _REST_SECONDS
        }
        if not over:
            return
        again = [_rest(rows[i], begin_s, heard[i].language) for i, begin_s in over.items()]
        for (i, begin_s), rest in zip(over.items(), self._decode(again, rests - 1), strict=True):
            if rest.text and not (rest.no_speech > _SILENT and rest.log_probability < _POOR):
                heard[i] = _joined(heard[i], rest, begin_s)

    def _probable(
        self,
        rows: Sequence[Row],
        encoded: Any,  # noqa: ANN401  # a CTranslate2 tensor
    ) -> list[dict[str, float] | None]:
        """How probable each language is, of the rows that want to know."""
        wanted = [self._model.is_multilingual and row.language is None for row in rows]
        if not any(wanted):
            return [None] * len(rows)
        return [
            {token.strip("<|>"): p for token, p in best if p >= _LEAST_PROBABILITY} if want else None
            for want, best in zip(wanted, self._model.detect_language(encoded), strict=True)
        ]

    def reserved_bytes(self) -> float | None:
        """Not known: NVML and the process say it."""
        return None

    def memory_bytes(self, streams: int) -> float | None:  # noqa: ARG002  # the protocol's signature
        """Not known: NVML and the process say it."""
        return None


class _Language(NamedTuple):
    """What a row is decoded in, and how probable each language is by its sound."""

    code: str
    probable: Mapping[str, float] | None


def _language(row: Row, probable: Mapping[str, float] | None) -> _Language:
    if probable is None:
        return _Language(row.language or "en", None)
    code = row.choose(probable) if row.choose is not None else max(probable, key=probable.__getitem__)
    return _Language(code, probable)


def _rest(row: Row, begin_s: float, language: str | None) -> Row:
    return replace(row, audio=row.audio[round(begin_s * SAMPLE_RATE) :], language=language, choose=None, words=True)


def _joined(first: Hypothesis, rest: Hypothesis, begin_s: float) -> Hypothesis:
    """Two parts of one window as one; `rest` begins `begin_s` after it."""
    later = tuple(TimedWord(w.word, w.start + begin_s, w.end + begin_s, w.probability) for w in rest.words or ())
    ours, theirs = len(first.text), len(rest.text)

    def mean(own: float, other: float) -> float:
        return (own * ours + other * theirs) / (ours + theirs)

    return replace(
        first,
        text=f"{first.text} {rest.text}",
        log_probability=mean(first.log_probability, rest.log_probability),
        words=(*(first.words or ()), *later),
        repetition=mean(first.repetition, rest.repetition),
    )
