"""faster-whisper's models through CTranslate2, on a CPU or one CUDA GPU.

`encode` and `generate` release the GIL and may be called from several threads. `<|startoftranscript|>` must be at the
same place of every prompt, so prompts never hold previous text. A row's prefix is forced, one step a token: as slow as
decoding it, but its words stay.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from server.engines import mel, text_endings
from server.engines.alignment import Text, Timing
from server.engines.batch_encoding import Encoding, joined
from server.engines.detokenize import Texts
from server.engines.engine import EngineInfo, EngineRow, Hypothesis
from server.engines.incremental_mel import WindowMelCache
from server.engines.instruction_set import choose_instructions
from whisper_ops.telemetry import host


class _Generated(Protocol):
    """What is used of CTranslate2's result for a row; it ships no annotations."""

    sequences_ids: list[list[int]]
    scores: list[float]


class CTranslate2Engine:
    def __init__(self, path: Path, device: str, compute_type: str, lanes: int, threads: int) -> None:
        self._path, self._device, self._lanes, self._threads = path, device, lanes, threads
        # On a CPU int8 is two to three times as fast as float32 and costs no measurable accuracy.
        self._compute_type = "int8" if compute_type == "default" and device == "cpu" else compute_type
        self._model: Any = None
        self._texts: Any = None
        self._mel: Any = None
        self._encoding = Encoding()

    def load(self) -> EngineInfo:
        choose_instructions(os.environ, *host.processor())
        kind, _, index = self._device.partition(":")
        self._model = ctranslate2.models.Whisper(
            str(self._path),
            device=kind,
            device_index=int(index or 0),
            compute_type=self._compute_type,
            inter_threads=self._lanes,
            intra_threads=self._threads,
        )
        self._texts, self._mel = Texts(self._path), WindowMelCache(self._model.n_mels)
        self.decode([EngineRow(np.zeros(mel.HOP * 100, np.float32), 8.0)])
        many = bool(self._model.is_multilingual)
        codes = self._texts.languages(multilingual=many)
        return EngineInfo(
            self._model.compute_type, "all" if many else "en", codes, mixed_contexts=self._device == "cpu"
        )

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        return self._decode(rows, text_endings.RESTS)

    def _decode(self, rows: Sequence[EngineRow], rests: int) -> list[Hypothesis]:
        encoded = self._encode(rows)
        languages = [
            text_endings.chosen(row, each)
            for row, each in zip(rows, self._language_probabilities(rows, encoded), strict=True)
        ]
        prompts = [self._texts.prompt(code, multilingual=self._model.is_multilingual) for code, _ in languages]
        prefixes = [self._texts.encode(" " + row.prefix) if row.prefix else [] for row in rows]
        cap = max(text_endings.row_cap(self._texts, row, code) for row, (code, _) in zip(rows, languages, strict=True))
        results = self._model.generate(
            encoded,
            [[*prompt, *prefix] for prompt, prefix in zip(prompts, prefixes, strict=True)],
            beam_size=1,
            # CTranslate2 generates at most half of this, as Whisper keeps the other half for previous text.
            max_length=2 * cap,
            return_scores=True,
            return_no_speech_prob=True,
        )
        texts = [self._text(result, cap, len(prefix)) for result, prefix in zip(results, prefixes, strict=True)]
        timing = Timing(self._model, encoded, prompts[0], rows)
        self._cut_loops(texts, timing)
        wanted = [
            i
            for i, (text, row) in enumerate(zip(texts, rows, strict=True))
            if row.words or text_endings.in_question(row, text)
        ]
        times_found = timing.of(texts, wanted)
        times = [times_found.get(i) for i in range(len(rows))]
        hypotheses = [
            text_endings.hypothesis(self._texts, row, text, each, language, result.no_speech_prob)
            for row, text, each, language, result in zip(rows, texts, times, languages, results, strict=True)
        ]
        if rests:
            self._decode_rests(rows, hypotheses, texts, rests)
        return [text_endings.as_requested(row, each) for row, each in zip(rows, hypotheses, strict=True)]

    def _encode(self, rows: Sequence[EngineRow]) -> Any:  # noqa: ANN401  # a tensor
        apart = self._device == "cpu" and self._encoding.apart(len(rows))
        longest_s = max(row.context_s for row in rows)
        features = [self._features(row, row.context_s if apart else longest_s) for row in rows]
        began = time.monotonic()
        batches = [one[None] for one in features] if apart else [np.stack(features)]
        parts = [self._model.encode(ctranslate2.StorageView.from_array(batch)) for batch in batches]
        encoded = (
            ctranslate2.StorageView.from_array(joined([np.asarray(part) for part in parts])) if apart else parts[0]
        )
        context_s = sum(row.context_s for row in rows) / len(rows)
        self._encoding.encoded(len(rows), context_s, time.monotonic() - began, apart=apart)
        return encoded

    def _features(self, row: EngineRow, context_s: float) -> NDArray[np.float32]:
        frames = round(context_s * mel.FRAMES_PER_SECOND)
        found: NDArray[np.float32] = self._mel.features(row.stream, row.at_s, row.audio, frames)
        return found

    def _text(self, result: _Generated, cap: int, forced: int) -> Text:
        sequence = result.sequences_ids[0]
        ids = self._texts.text_tokens(sequence)
        return Text(ids, len(sequence) >= cap, float(result.scores[0]), forced=forced)

    def _cut_loops(self, texts: list[Text], timing: Timing) -> None:
        """Cut off repeats that are too fast for their audio."""
        looped = [text_endings.cut_rounds(self._texts, text) for text in texts]
        repeats = [
            None if cut else text_endings.suspect(self._texts, text) for cut, text in zip(looped, texts, strict=True)
        ]
        suspects = {i: repeat for i, repeat in enumerate(repeats) if repeat is not None}
        for i, times in timing.of(texts, list(suspects)).items():
            text_endings.cut_loop(self._texts, texts[i], suspects[i], times)

    def _decode_rests(
        self, rows: Sequence[EngineRow], hypotheses: list[Hypothesis], texts: Sequence[Text], rests: int
    ) -> None:
        """Decode the audio after cut-off texts, and append what it says."""
        rests_found = [
            text_endings.rest_of(row, text, h.language) for row, text, h in zip(rows, texts, hypotheses, strict=True)
        ]
        pending = {i: rest for i, rest in enumerate(rests_found) if rest is not None}
        if not pending:
            return
        again = self._decode([row for row, _ in pending.values()], rests - 1)
        for (i, (_, begin_s)), rest in zip(pending.items(), again, strict=True):
            hypotheses[i] = text_endings.joined(hypotheses[i], rest, begin_s)

    def _language_probabilities(
        self,
        rows: Sequence[EngineRow],
        encoded: Any,  # noqa: ANN401  # a CTranslate2 tensor
    ) -> list[dict[str, float] | None]:
        """Each language's probability, for the rows that name none."""
        wanted = [self._model.is_multilingual and row.language is None for row in rows]
        if not any(wanted):
            return [None] * len(rows)
        return [
            text_endings.likely([token.strip("<|>") for token, _ in best], [p for _, p in best]) if want else None
            for want, best in zip(wanted, self._model.detect_language(encoded), strict=True)
        ]

    def reserved_bytes(self) -> float | None:
        return None

    def memory_bytes(self, streams: int) -> float | None:  # noqa: ARG002  # the protocol's signature
        return None
