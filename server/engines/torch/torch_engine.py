"""The torch engine, as the worker sees it."""

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
from server.engines.repetition import LONGEST_TEXT, token_cap
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
"""What a model of random weights says: as much as English speech has."""
_KEPT_STREAMS = {False: 64, True: 1024}
"""Windows whose mel frames are kept on the device."""
RANDOM_TOKENS_PER_WORD = 1.3
_EOT = 50257


class TorchEngine:
    """See `server.engines.engine.RowEngine`. `model` is a folder, or `random:` and a published shape's name.

    With `prepared`, the usual shapes are captured while it loads and not when a stream first needs them.
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
        """See `Engine`."""
        kind = "bfloat16" if self.runtime.gpu else "float32"
        if self._compute_type != "default":
            kind = self._compute_type
        shape, dtype = random_shape(self._model), getattr(torch, kind)
        shape = weights.shape_of(Path(self._model)) if shape is None else shape
        # Before anything is read: what does not fit is refused, and not found out.
        self._plan(shape, shape.parameters * dtype.itemsize, dtype.itemsize, self.runtime.memory().available)
        try:
            return self.load_weights(self._read(dtype), kind)
        except Exception as error:
            if not out_of_memory(error):
                raise
            memory = self.runtime.memory()
            raise UnfitError(
                f"{self._device} ran out of memory as the model was loaded ({size(memory.free)} of "
                f"{size(memory.total)} are free): say a smaller --max-batch or model, or end what else uses it"
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
        return max(_KEPT_STREAMS[self.runtime.gpu], 2 * self._rows)

    def load_weights(self, found: Weights, kind: str) -> EngineInfo:
        """Make everything that serves from weights that are already on the device."""
        runtime = self.runtime
        self.shape, self.dtype = found.shape, getattr(torch, kind)
        # What reading the weights left behind.
        runtime.shrink()
        plan = self._plan(found.shape, found.size, self.dtype.itemsize, runtime.memory().available + found.size)
        multilingual = found.shape.multilingual
        self._languages = self._texts.languages(multilingual=multilingual) if self._texts else ("en",)
        tokens = self._tokens(found)
        features = Features(runtime, found.shape.mels, self._streams)
        self.slots = DecoderSlots(TorchWhisper(found), runtime, tokens, plan.slots, self._rows)
        self.features = features
        self.pipeline = Pipeline(runtime, features, self.slots, self._prompt, self._finish, tokens.eot)
        # So far everything was done in no lane, and a lane does not wait for that.
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

    def _tokens(self, found: Weights) -> Tokens:
        """What the device has to know of the vocabulary."""
        texts, multilingual = self._texts, found.shape.multilingual
        if texts is None:
            # Nothing but the cap ends what random weights say.
            return Tokens(_EOT, _EOT + 1, _EOT + 2, (_EOT,), (), ())
        silent = "<|nospeech|>" if texts.has("<|nospeech|>") else "<|nocaptions|>"
        return Tokens(
            texts.eot,
            texts.id("<|startoftranscript|>"),
            texts.id(silent),
            found.suppressed,
            found.suppressed_first,
            tuple(texts.id(f"<|{code}|>") for code in self._languages) if multilingual else (),
        )

    # --- rows ---------------------------------------------------------------------------------------

    def start(self, rows: Sequence[EngineRow], done: Done) -> None:
        """See `RowEngine`."""
        frames = round(rows[0].context_s * FRAMES_PER_SECOND)
        works = []
        for place, row in enumerate(rows):
            try:
                works.append(self._work(row, _teller(done, place), frames))
            except Exception as error:  # noqa: BLE001  # this row's alone
                done(place, error)
        for begin in range(0, len(works), self._rows):
            self.pipeline.put(works[begin : begin + self._rows], frames).wait()

    def _work(self, row: EngineRow, tell: Callable[[Hypothesis | Exception], None], frames: int) -> Work:
        seconds = len(row.audio) / SAMPLE_RATE
        language = row.language if self.shape.multilingual and self._texts else "en"
        if self._texts is None:
            cap = max(1, min(LONGEST_TEXT, round(seconds * RANDOM_TOKENS_PER_SECOND)))
            prefix = [_EOT - 2] * min(cap - 1, round(len(row.prefix.split()) * RANDOM_TOKENS_PER_WORD))
        else:
            cap = token_cap(seconds, language)
            prefix = self._texts.encode(f" {row.prefix}") if row.prefix else []
        # A prefix that leaves no room for anything new is none.
        prefix = prefix if len(prefix) < cap else []
        return Work(row, tell, frames // 2, cap - len(prefix), prefix, language)

    def _prompt(self, work: Work, guess: NDArray[np.float32] | None) -> list[int]:
        if self._texts is None:
            return [_EOT + 1] * 4 + work.prefix
        if work.language is None and guess is not None:
            work.probable = text_endings.likely(self._languages, guess.tolist())
            work.language, _ = text_endings.chosen(work.row, work.probable)
            work.cap = token_cap(len(work.row.audio) / SAMPLE_RATE, work.language) - len(work.prefix)
        return self._texts.prompt(work.language or "en", multilingual=self.shape.multilingual) + work.prefix

    def _finish(self, work: Work) -> None:
        """A row has said everything, and still has its slot."""
        ids, texts = work.prefix + work.said, self._texts
        if texts is None:
            said = " ".join(f"random{token}" for token in ids)
            work.tell(Hypothesis(said, work.no_speech, work.log_probability, language=work.language))
            return
        text = Text(ids, work.unended, work.log_probability)
        times = self._ended(texts, work, text)
        language = work.language or "en"
        heard = text_endings.hypothesis(texts, work.row, text, times, (language, work.probable), work.no_speech)
        rest = text_endings.rest_of(work.row, text, language) if work.rests else None
        if rest is None:
            work.tell(text_endings.told(work.row, heard))
            return
        row, begin_s = rest

        def tell(found: Hypothesis | Exception) -> None:
            # A rest that fails leaves what was heard before it.
            whole = heard if isinstance(found, Exception) else text_endings.joined(heard, found, begin_s)
            work.tell(text_endings.told(work.row, whole))

        again = self._work(row, tell, work.positions * 2)
        again.rests = work.rests - 1
        self.pipeline.put([again], work.positions * 2)

    def _ended(self, texts: "Texts", work: Work, text: Text) -> Times | None:
        """Cut off a loop that the sound cannot hold. Answers the words' times, where somebody needs them."""
        repeat = text_endings.suspect(texts, text)
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
        """See `Engine`."""
        heard: dict[int, Hypothesis | Exception] = {}
        over = threading.Semaphore(0)

        def done(place: int, found: Hypothesis | Exception) -> None:
            heard[place] = found
            over.release()

        self.start(rows, done)
        for _ in rows:
            over.acquire()
        return [_raised(heard[place]) for place in range(len(rows))]

    def close(self) -> None:
        """End the engine's thread."""
        atexit.unregister(self.close)
        self.pipeline.close()

    def _memory(self) -> DeviceMemory | None:
        # A CPU's memory is the process's, and that is known already.
        return self.runtime.memory() if self.runtime.gpu else None

    def memory_bytes(self, streams: int) -> float | None:  # noqa: ARG002  # slots are static: it does not depend on them
        """See `Engine`."""
        memory = self._memory()
        return memory.allocated if memory is not None else None

    def reserved_bytes(self) -> float | None:
        """See `Engine`."""
        memory = self._memory()
        return memory.reserved if memory is not None else None


def _teller(done: Done, place: int) -> Callable[[Hypothesis | Exception], None]:
    return lambda heard: done(place, heard)


def _raised(heard: Hypothesis | Exception) -> Hypothesis:
    if isinstance(heard, Exception):
        raise heard
    return heard


def runtime_for(device: str, threads: int) -> DeviceRuntime:
    """The `DeviceRuntime` of `cpu` or `cuda:1`.

    Raises:
        UnfitError: there is no such device.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return CpuRuntime(threads)
    if not torch.cuda.is_available():
        raise UnfitError(f"torch {torch.__version__} finds no CUDA GPU for {device}; say --devices cpu")
    if int(index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UnfitError(f"{device}: torch {torch.__version__} finds {count} CUDA GPUs, cuda:0 to cuda:{count - 1}")
    return CudaRuntime(int(index or 0))
