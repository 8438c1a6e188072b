"""The torch engine as a `RowEngine`."""

import atexit
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from server.audio_formats import SAMPLE_RATE
from server.engines import text_endings
from server.engines.alignment import Text, Times, times
from server.engines.engine import Done, EngineInfo, EngineRow, Hypothesis, UnfitError
from server.engines.mel import FRAMES_PER_SECOND, HOP
from server.engines.repetition import LONGEST_TEXT
from server.engines.torch import memory_budget, weights
from server.engines.torch.cpu_runtime import CpuRuntime
from server.engines.torch.cuda_runtime import CudaRuntime
from server.engines.torch.decode_rows import Work
from server.engines.torch.decoder_slots import DecoderSlots, Tokens
from server.engines.torch.device_runtime import MOST_GRAPHS, DeviceMemory, DeviceRuntime, out_of_memory
from server.engines.torch.features import Features
from server.engines.torch.model_choice import random_shape
from server.engines.torch.pipeline import Pipeline
from server.engines.torch.shapes import Shape
from server.engines.torch.token_times import path
from server.engines.torch.weights import Weights
from server.engines.torch.whisper_model import TorchWhisper
from whisper_ops.formatting import size

if TYPE_CHECKING:
    from server.engines.detokenize import Texts

log = logging.getLogger("whisper_ops.worker")

RANDOM_TOKENS_PER_SECOND = 3.3
"""Of a model with random weights: as many as English speech has."""
_CACHED_WINDOWS = {False: 64, True: 1024}
"""Windows whose mel frames stay on the device, by whether it is a GPU."""
RANDOM_TOKENS_PER_WORD = 1.3
_EOT = 50257


class TorchEngine:
    """`model` is a folder, or `random:` and a published shape's name.

    With `prepared` the usual shapes are captured while it loads, not when a stream first needs them.
    """

    def __init__(
        self,
        model: str,
        device: str,
        compute_type: str,
        max_batch: int,
        threads: int,
        runtime: DeviceRuntime | None = None,
        *,
        prepared: bool = True,
    ) -> None:
        self._model, self._device, self._rows = model, device, max_batch
        self._compute_type, self._prepared = compute_type, prepared
        self.runtime = runtime or runtime_for(device, threads)
        self._texts: Texts | None = None

    # --- loading ------------------------------------------------------------------------------------

    def load(self) -> EngineInfo:
        kind = "bfloat16" if self.runtime.gpu else "float32"
        if self._compute_type != "default":
            kind = self._compute_type
        shape, dtype = random_shape(self._model), getattr(torch, kind)
        shape = weights.shape_of(Path(self._model)) if shape is None else shape
        # Refuses a model that does not fit before any of it is read.
        self._plan(shape, shape.parameters * dtype.itemsize, dtype.itemsize, self.runtime.memory().available)
        try:
            return self.load_weights(self._read(dtype), kind)
        except Exception as error:
            if not out_of_memory(error):
                raise
            memory = self.runtime.memory()
            raise UnfitError(
                f"{self._device} ran out of memory as the model was loaded ({size(memory.free)} of "
                f"{size(memory.total)} are free): give a smaller --max-batch or model, or end other programs on it"
            ) from error

    def _read(self, dtype: Any) -> Weights:  # noqa: ANN401  # torch's
        shape = random_shape(self._model)
        if shape is not None:
            return weights.at_random(shape, self.runtime.device, dtype)
        from server.engines.detokenize import Texts  # noqa: PLC0415  # random weights need no tokenizer

        self._texts = Texts(Path(self._model))
        return weights.load(Path(self._model), self.runtime.device, dtype)

    def _plan(self, shape: Shape, weights_size: float, itemsize: int, free: float) -> memory_budget.MemoryBudget:
        graphs = MOST_GRAPHS if self.runtime.gpu else 0
        return memory_budget.plan(shape, weights_size, itemsize, self._rows, self._streams, free, self._device, graphs)

    @property
    def _streams(self) -> int:
        return max(_CACHED_WINDOWS[self.runtime.gpu], 2 * self._rows)

    def load_weights(self, loaded: Weights, kind: str) -> EngineInfo:
        """Build slots, features and pipeline on weights that are already on the device."""
        runtime = self.runtime
        self.shape, self.dtype = loaded.shape, getattr(torch, kind)
        # Frees what reading the weights left allocated.
        runtime.shrink()
        plan = self._plan(loaded.shape, loaded.size, self.dtype.itemsize, runtime.memory().available + loaded.size)
        multilingual = loaded.shape.multilingual
        self._languages = self._texts.languages(multilingual=multilingual) if self._texts else ("en",)
        tokens = self._tokens(loaded)
        features = Features(runtime, loaded.shape.mels, self._streams)
        self.slots = DecoderSlots(TorchWhisper(loaded), runtime, tokens, plan.slots, self._rows)
        self.features = features
        self.pipeline = Pipeline(runtime, features, self.slots, self._prompt, self._finish, tokens.eot)
        # All of this ran outside the lanes, which do not wait for it.
        runtime.settle()
        if runtime.gpu and self._prepared:
            with torch.inference_mode():
                self.slots.prepare()
        self.pipeline.start()
        # A thread in the middle of torch's code must not outlive the interpreter.
        atexit.register(self.close)
        self._warm_up()
        if runtime.gpu:
            log.info("%d shapes are captured, %d could not be", runtime.graphs, runtime.uncaptured)
        return EngineInfo(
            compute_type=kind,
            languages="all" if multilingual and self._texts else "en",
            codes=self._languages if self._texts else None,
            details={"memory": str(plan), "slots": str(plan.slots), "device": self._device},
        )

    def _warm_up(self) -> None:
        self.decode([EngineRow(np.zeros(HOP * 100, np.float32), 8.0, language="en")])

    def _tokens(self, loaded: Weights) -> Tokens:
        texts, multilingual = self._texts, loaded.shape.multilingual
        if texts is None:
            # Random weights never end a text, so the cap does.
            return Tokens(_EOT, _EOT + 1, _EOT + 2, (_EOT,), (), ())
        silent = "<|nospeech|>" if texts.has("<|nospeech|>") else "<|nocaptions|>"
        return Tokens(
            texts.eot,
            texts.id("<|startoftranscript|>"),
            texts.id(silent),
            loaded.suppressed,
            loaded.suppressed_first,
            tuple(texts.id(f"<|{code}|>") for code in self._languages) if multilingual else (),
        )

    # --- rows ---------------------------------------------------------------------------------------

    def start(self, rows: Sequence[EngineRow], done: Done) -> None:
        frames = round(rows[0].context_s * FRAMES_PER_SECOND)
        works = []
        for place, row in enumerate(rows):
            try:
                works.append(self._work(row, _deliver_to(done, place), frames))
            except Exception as error:  # noqa: BLE001  # only this row is lost
                done(place, error)
        for begin in range(0, len(works), self._rows):
            self.pipeline.put(works[begin : begin + self._rows], frames).wait()

    def _work(self, row: EngineRow, deliver: Callable[[Hypothesis | Exception], None], frames: int) -> Work:
        seconds = len(row.audio) / SAMPLE_RATE
        language = row.language if self.shape.multilingual and self._texts else "en"
        if self._texts is None:
            cap = max(1, min(LONGEST_TEXT, round(seconds * RANDOM_TOKENS_PER_SECOND)))
            prefix = [_EOT - 2] * min(cap - 1, round(len(row.prefix.split()) * RANDOM_TOKENS_PER_WORD))
        else:
            cap = text_endings.row_cap(self._texts, row, language)
            prefix = self._texts.encode(f" {row.prefix}") if row.prefix else []
        # A prefix that leaves no room for a new token is dropped.
        prefix = prefix if len(prefix) < cap else []
        return Work(row, deliver, frames // 2, cap - len(prefix), prefix, language)

    def _prompt(self, work: Work, guess: NDArray[np.float32] | None) -> list[int]:
        if self._texts is None:
            return [_EOT + 1] * 4 + work.prefix
        if work.language is None and guess is not None:
            work.language_probabilities = text_endings.likely(self._languages, guess.tolist())
            work.language, _ = text_endings.chosen(work.row, work.language_probabilities)
            work.cap = text_endings.row_cap(self._texts, work.row, work.language) - len(work.prefix)
        return self._texts.prompt(work.language or "en", multilingual=self.shape.multilingual) + work.prefix

    def _finish(self, work: Work) -> None:
        """Deliver a row whose last token came, while its slot still holds it."""
        ids, texts = work.prefix + work.tokens, self._texts
        if texts is None:
            said = " ".join(f"random{token}" for token in ids)
            work.deliver(Hypothesis(said, work.no_speech, work.log_probability, language=work.language))
            return
        text = Text(ids, work.is_cut_off, work.log_probability, forced=len(work.prefix))
        times = self._cut_loop(texts, work, text)
        language = work.language or "en"
        hypothesis = text_endings.hypothesis(
            texts, work.row, text, times, (language, work.language_probabilities), work.no_speech
        )
        rest = text_endings.rest_of(work.row, text, language) if work.rests_left else None
        if rest is None:
            work.deliver(text_endings.as_requested(work.row, hypothesis))
            return
        row, begin_s = rest

        def deliver(later: Hypothesis | Exception) -> None:
            # If the rest fails, the text before it stands.
            whole = hypothesis if isinstance(later, Exception) else text_endings.joined(hypothesis, later, begin_s)
            work.deliver(text_endings.as_requested(work.row, whole))

        again = self._work(row, deliver, work.positions * 2)
        again.rests_left = work.rests_left - 1
        self.pipeline.put([again], work.positions * 2)

    def _cut_loop(self, texts: "Texts", work: Work, text: Text) -> Times | None:
        """Cut off a loop that is too fast for its audio; returns the words' times where they are needed."""
        repeat = None if text_endings.cut_rounds(texts, text) else text_endings.suspect(texts, text)
        if repeat is not None:
            text_endings.cut_loop(texts, text, repeat, self._times(texts, work, text.ids))
        return (
            self._times(texts, work, text.ids) if work.row.words or text_endings.in_question(work.row, text) else None
        )

    def _times(self, texts: "Texts", work: Work, ids: list[int]) -> Times:
        frames = min(len(work.row.audio) // HOP, work.positions * 2)
        if not ids:
            return times(ids, [], [], frames)
        start = texts.prompt(work.language or "en", multilingual=self.shape.multilingual)
        chances, attention = self.slots.aligned(work.slot, [*start, *ids, texts.eot], work.positions)
        begin = len(start) - 1
        way = path(attention.get(), frames // 2, begin)
        return times(ids, way, chances.get()[begin:].tolist(), frames)

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        hypotheses: dict[int, Hypothesis | Exception] = {}
        over = threading.Semaphore(0)

        def done(place: int, later: Hypothesis | Exception) -> None:
            hypotheses[place] = later
            over.release()

        self.start(rows, done)
        for _ in rows:
            over.acquire()
        return [_value_or_raise(hypotheses[place]) for place in range(len(rows))]

    def close(self) -> None:
        """End the engine's thread."""
        atexit.unregister(self.close)
        self.pipeline.close()

    def _memory(self) -> DeviceMemory | None:
        # On a CPU it is the process's memory, which is reported anyway.
        return self.runtime.memory() if self.runtime.gpu else None

    def memory_bytes(self, streams: int) -> float | None:  # noqa: ARG002  # slots are static
        memory = self._memory()
        return memory.allocated if memory is not None else None

    def reserved_bytes(self) -> float | None:
        memory = self._memory()
        return memory.reserved if memory is not None else None


def _deliver_to(done: Done, place: int) -> Callable[[Hypothesis | Exception], None]:
    return lambda hypothesis: done(place, hypothesis)


def _value_or_raise(hypothesis: Hypothesis | Exception) -> Hypothesis:
    if isinstance(hypothesis, Exception):
        raise hypothesis
    return hypothesis


def runtime_for(device: str, threads: int) -> DeviceRuntime:
    """The `DeviceRuntime` of `cpu` or `cuda:1`.

    Raises:
        UnfitError: there is no such device.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return CpuRuntime(threads)
    if not torch.cuda.is_available():
        raise UnfitError(f"torch {torch.__version__} finds no CUDA GPU for {device}; give --devices cpu")
    if int(index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UnfitError(f"{device}: torch {torch.__version__} finds {count} CUDA GPUs, cuda:0 to cuda:{count - 1}")
    return CudaRuntime(int(index or 0))
