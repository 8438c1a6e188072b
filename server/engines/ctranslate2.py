"""faster-whisper's models through CTranslate2, on a CPU or one CUDA GPU.

`encode` and `generate` release the GIL and may be called from several threads. All rows of an encode share their
length; `<|startoftranscript|>` must stand at the same place of every prompt, so prompts never hold previous text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from server.encodings import SAMPLE_RATE
from server.engines import mel
from server.engines.base import EngineInfo, Hypothesis, Row, TimedWord
from server.engines.loops import token_cap
from server.engines.texts import Texts


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
        frames = round(rows[0].context_s * mel.FRAMES_PER_SECOND)
        batch = np.stack([mel.features(row.audio, frames, self._model.n_mels) for row in rows])
        encoded = self._model.encode(ctranslate2.StorageView.from_array(batch))
        languages = self._languages(rows, encoded)
        prompts = [self._texts.prompt(language, multilingual=self._model.is_multilingual) for language in languages]
        longest = max(len(row.audio) for row in rows) / SAMPLE_RATE
        results = self._model.generate(
            encoded,
            prompts,
            beam_size=1,
            # CTranslate2 generates at most half of this, as Whisper keeps the other half for previous text.
            max_length=2 * token_cap(longest),
            return_scores=True,
            return_no_speech_prob=True,
        )
        timed = self._align(rows, encoded, prompts, results) if any(row.words for row in rows) else [None] * len(rows)
        return [self._hypothesis(*each) for each in zip(rows, results, languages, timed, strict=True)]

    def _languages(self, rows: Sequence[Row], encoded: Any) -> list[str]:  # noqa: ANN401  # a CTranslate2 tensor
        if not self._model.is_multilingual:
            return ["en"] * len(rows)
        if all(row.language for row in rows):
            return [row.language or "en" for row in rows]
        found = [best[0][0].strip("<|>") for best in self._model.detect_language(encoded)]
        return [row.language or guess for row, guess in zip(rows, found, strict=True)]

    def _hypothesis(
        self,
        row: Row,
        result: Any,  # noqa: ANN401  # CTranslate2 ships no annotations
        language: str,
        timed: tuple[TimedWord, ...] | None,
    ) -> Hypothesis:
        text = self._texts.decode(self._kept(result)).strip()
        return Hypothesis(text, result.no_speech_prob, float(result.scores[0]), timed if row.words else None, language)

    def _kept(self, result: Any) -> list[int]:  # noqa: ANN401  # CTranslate2's
        kept: list[int] = self._texts.kept(result.sequences_ids[0])
        return kept

    def _align(
        self,
        rows: Sequence[Row],
        encoded: Any,  # noqa: ANN401  # a CTranslate2 tensor
        prompts: Sequence[list[int]],
        results: Any,  # noqa: ANN401  # CTranslate2's
    ) -> list[tuple[TimedWord, ...] | None]:
        tokens = [self._kept(result) for result in results]
        frames = [min(len(row.audio) // mel.HOP, round(row.context_s * mel.FRAMES_PER_SECOND)) for row in rows]
        found = self._model.align(encoded, prompts[0][:-1], tokens, frames)
        return [
            self._words(ids, a, len(row.audio) / SAMPLE_RATE) for row, ids, a in zip(rows, tokens, found, strict=True)
        ]

    def _words(self, ids: list[int], alignment: Any, length_s: float) -> tuple[TimedWord, ...]:  # noqa: ANN401
        first: dict[int, int] = {}
        for token, frame in alignment.alignments:
            first.setdefault(token, frame)
        timed: tuple[TimedWord, ...] = self._texts.timed(ids, first, alignment.text_token_probs, length_s)
        return timed

    def reserved_bytes(self) -> float | None:
        """Not known: NVML and the process say it."""
        return None

    def memory_bytes(self, streams: int) -> float | None:  # noqa: ARG002  # the protocol's signature
        """Not known: NVML and the process say it."""
        return None
