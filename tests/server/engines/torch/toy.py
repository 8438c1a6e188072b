"""A small model of random weights in float64, where two ways to one result differ by nothing that could be mistaken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from server.audio_formats import Samples
from server.engines.engine import EngineRow, Hypothesis
from server.engines.torch import weights
from server.engines.torch.cpu_runtime import CpuRuntime
from server.engines.torch.decode_rows import Work
from server.engines.torch.decoder_slots import DecoderSlots, Tokens
from server.engines.torch.features import Features
from server.engines.torch.pipeline import Pipeline
from server.engines.torch.shapes import Shape
from server.engines.torch.whisper_model import TorchWhisper

SHAPE = Shape(mels=80, width=32, heads=2, encoder_layers=1, decoder_layers=2, vocabulary=61)
TOKENS = Tokens(eot=60, sot=59, no_speech=58, suppressed=(7, 8), suppressed_first=(60, 9), languages=())
START = [59, 57]


def talkative() -> weights.Weights:
    """Random weights, large enough that what is said depends on what is heard and on what was said before."""
    made = weights.at_random(SHAPE, "cpu", torch.float64)
    for name, tensor in made.tensors.items():
        if "linear" in name or "conv" in name:
            tensor.mul_(40 if "/attention/" in name else 14)
        if name == "decoder/position_encodings/encodings":
            tensor.mul_(60)
    # Untied: else the likeliest token would be the last one again.
    fresh = torch.Generator().manual_seed(1)
    made.tensors["decoder/projection/weight"] = torch.randn(
        made.tensors["decoder/embeddings/weight"].shape, generator=fresh, dtype=torch.float64
    )
    return made


@dataclass
class Asked:
    """A row to decode: which sound, how much may be said, what is forced."""

    seed: int
    seconds: float = 1.0
    cap: int = 20
    prefix: tuple[int, ...] = ()
    stream: int | None = None
    audio: Samples | None = None


@dataclass
class Bench:
    """A pipeline whose turns a test takes by hand."""

    runtime: CpuRuntime = field(default_factory=CpuRuntime)
    slots_count: int = 6
    rows: int = 4
    told: dict[int, list[int] | Exception] = field(default_factory=dict)
    chances: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model = TorchWhisper(talkative())
        self.features = Features(self.runtime, SHAPE.mels, 16)
        self.slots = DecoderSlots(model, self.runtime, TOKENS, self.slots_count, self.rows)
        self.pipeline = Pipeline(self.runtime, self.features, self.slots, self._prompt, self._finish, TOKENS.eot)

    @staticmethod
    def _prompt(work: Work, guess: object) -> list[int]:
        return START + work.prefix

    @staticmethod
    def _finish(work: Work) -> None:
        work.deliver(Hypothesis(" ".join(map(str, work.tokens)), work.no_speech, work.log_probability))

    def put(self, asked: Sequence[Asked], first: int = 0, context_s: float = 4.0) -> Any:
        """Take rows, whose answers get the numbers from `first` on."""
        works = []
        for number, one in enumerate(asked, first):
            audio = sound(one.seed, one.seconds) if one.audio is None else one.audio
            row = EngineRow(audio, context_s, stream=one.stream)
            tell = self._teller(number)
            works.append(Work(row, tell, round(context_s * 50), one.cap, list(one.prefix), "en"))
        return self.pipeline.put(works, round(context_s * 100))

    def _teller(self, number: int) -> Any:
        def tell(heard: Hypothesis | Exception) -> None:
            assert number not in self.told, "a row was told of twice"
            if isinstance(heard, Exception):
                self.told[number] = heard
            else:
                self.told[number] = [int(token) for token in heard.text.split()]
                self.chances[number] = heard.log_probability

        return tell

    def turn(self, times: int = 1) -> None:
        """Let the pipeline go on, where it has something to do."""
        with torch.inference_mode():
            for _ in range(times):
                if self.busy:
                    self.pipeline._round()

    @property
    def busy(self) -> bool:
        pipe = self.pipeline
        return bool(pipe._active or pipe._encoding or pipe._pending or pipe._retry or not pipe._waiting.empty())

    def finish(self) -> "Bench":
        """Take turns until nothing is left to do."""
        for _ in range(10_000):
            if not self.busy:
                return self
            self.turn()
        raise AssertionError("it never ends")

    def said(self, asked: Sequence[Asked], context_s: float = 4.0) -> list[list[int] | Exception]:
        """All at once."""
        self.told.clear()
        self.put(asked, 0, context_s)
        self.finish()
        return [self.told[i] for i in range(len(asked))]


def alone(asked: Asked, context_s: float = 4.0) -> list[int] | Exception:
    """What a row says with nobody beside it."""
    return Bench().said([asked], context_s)[0]


def sound(seed: int, seconds: float) -> Samples:
    """Noise in bursts; different for each seed."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 0.1, round(seconds * 16000)) * np.repeat(rng.random(20), round(seconds * 800))
    return made.astype(np.float32)
