"""The decoder's static slots: keys and values of the active rows, and the four functions that run on them.

A slot holds one row: its own keys and values, and those of its window. Rows join by `admit` (their whole prompt in one
pass) and advance by `step`, each at its own position. Every function here may be captured: it reads and writes static
buffers of a few sizes only, and may be run again on the same input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from server.engines.torch.device_runtime import DECODE, ENCODE, DeviceRuntime, PendingCopy
from server.engines.torch.shapes import AUDIO_POSITIONS, TEXT_POSITIONS, Shape
from server.engines.torch.whisper_model import TorchWhisper

Tensor = Any
CUDA_BATCHES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Sizes of captured batches; smaller ones are padded."""
PROMPTS = (1, 4, 8, 16, 32, 64, 128, 256, TEXT_POSITIONS)
TEXTS = (32, 64, 128, 256, TEXT_POSITIONS)
PREPARED_FRAMES, PREPARED_PROMPTS = (400, 600, 800), (4, 16, 32)
"""Shapes captured at the start: windows of up to 8 s, and prefixes of few words."""
CONTEXTS = (200, 300, 400, 500, 750, 1000, AUDIO_POSITIONS)
"""Encoder positions that a step reads."""


def bucket(sizes: Sequence[int], size: int) -> int:
    """The smallest of `sizes` that is at least `size`."""
    return next((each for each in sizes if each >= size), size)


@dataclass(frozen=True)
class Tokens:
    """Ids of the tokens that the device needs."""

    eot: int
    sot: int
    no_speech: int
    suppressed: tuple[int, ...]
    suppressed_first: tuple[int, ...]
    languages: tuple[int, ...]


def slot_size(shape: Shape, itemsize: int) -> int:
    """Bytes of one slot."""
    return shape.decoder_layers * 2 * shape.width * (TEXT_POSITIONS + AUDIO_POSITIONS) * itemsize


def staging_size(shape: Shape, rows: int, itemsize: int) -> int:
    """Bytes of the buffers in which a batch is encoded before it is admitted."""
    return (
        rows
        * itemsize
        * (
            shape.decoder_layers * 2 * shape.width * (AUDIO_POSITIONS + TEXT_POSITIONS)
            + shape.mels * 2 * AUDIO_POSITIONS
        )
    )


class DecoderSlots:
    """`count` slots; a batch that is admitted has at most `rows`."""

    def __init__(self, model: TorchWhisper, runtime: DeviceRuntime, tokens: Tokens, count: int, rows: int) -> None:
        self.count, self.rows = count, rows
        self._model, self._runtime, self._tokens = model, runtime, tokens
        device, dtype = runtime.device, model.dtype
        # A GPU replays captured shapes; a CPU captures nothing, and would only compute the padding.
        captured = [b for b in CUDA_BATCHES if b < max(count, rows)] + [max(count, rows)]
        self.batches = tuple(captured) if runtime.gpu else tuple(range(1, max(count, rows) + 1))
        layers, heads, head = model.shape.decoder_layers, model.shape.heads, model.shape.head
        # One more slot than is in use: an admitted batch's padding is written there.
        self.own = torch.zeros((layers, 2, count + 1, heads, TEXT_POSITIONS, head), device=device, dtype=dtype)
        self.cross = torch.zeros((layers, 2, count + 1, heads, AUDIO_POSITIONS, head), device=device, dtype=dtype)
        # One tensor, so that a failing step updates both or none.
        self._at = torch.zeros((2, count + 1), dtype=torch.int64, device=device)
        self.newest, self.positions = self._at[0], self._at[1]
        self.lengths = torch.ones(count + 1, dtype=torch.int64, device=device)
        self._mel = torch.zeros(rows * model.shape.mels * 2 * AUDIO_POSITIONS, device=device, dtype=dtype)
        staged = layers * 2 * rows * model.shape.width
        self._staged = torch.zeros(staged * AUDIO_POSITIONS, device=device, dtype=dtype)
        self._prompted = torch.zeros(staged * TEXT_POSITIONS, device=device, dtype=dtype)
        self._prompt = torch.zeros(rows * TEXT_POSITIONS, dtype=torch.int64, device=device)
        # Of each row of an admitted batch: its slot, its prompt's length, whether its text begins here.
        self._joining = torch.zeros((3, rows), dtype=torch.int64, device=device)
        self._joined = torch.zeros((3, rows), device=device)
        self._stepped = torch.zeros((2, count + 1), device=device)
        self._next = torch.zeros((2, count + 1), dtype=torch.int64, device=device)
        self._language_probabilities = torch.zeros((rows, max(1, len(tokens.languages))), device=device)
        self._suppressed = self._mask(tokens.suppressed)
        self._suppressed_first = self._mask(tokens.suppressed_first)
        self._languages = torch.tensor(tokens.languages or (0,), device=device)

    def _mask(self, tokens: Sequence[int]) -> Tensor:
        mask = torch.zeros(self._model.shape.vocabulary, device=self._runtime.device)
        mask[torch.tensor(tokens, dtype=torch.int64, device=mask.device)] = float("-inf")
        return mask

    def prepare(self, frames: Sequence[int] = PREPARED_FRAMES, prompts: Sequence[int] = PREPARED_PROMPTS) -> None:
        """Capture the shapes of short windows before streams come. No row may be in a slot."""
        self._runtime.settle()
        for length in frames:
            for size in self.batches:
                if size <= self.rows:
                    self._rehearse(size, length, prompts)
                if size <= self.count:
                    with self._runtime.lane(DECODE):
                        self.step(size, 0, length // 2)
        self._runtime.settle()

    def _rehearse(self, size: int, frames: int, prompts: Sequence[int]) -> None:
        mel = torch.zeros((size, self._model.shape.mels, frames), device=self._runtime.device, dtype=self._model.dtype)
        with self._runtime.lane(ENCODE):
            self.encode(mel)
            encoded = self._runtime.mark()
        with self._runtime.lane(DECODE):
            self._runtime.wait(encoded)
            for length in prompts:
                self.admit([self.count] * size, [[self._tokens.sot] * length] * size, [True] * size, frames // 2)
        self._runtime.settle()

    # --- encode -------------------------------------------------------------------------------------

    def encode(self, mel: Tensor) -> None:
        """Bring features [B, mels, T] into the staging buffer, in the encoder's lane."""
        rows, mels, frames = mel.shape
        size = bucket(self.batches, rows)
        target = self._mel[: size * mels * frames].view(size, mels, frames)
        target[:rows].copy_(mel)
        target[rows:].zero_()
        cross = self._staging(size, frames // 2)
        self._runtime.replay(("encode", size, frames), self._encode, (target, cross), ENCODE)

    def _encode(self, mel: Tensor, cross: Tensor) -> None:
        self._model.write_cross(self._model.encode(mel), cross)

    def _staging(self, size: int, context: int) -> Tensor:
        shape = self._model.shape
        sizes = (shape.decoder_layers, 2, size, shape.heads, context, shape.head)
        return self._staged[: int(np.prod(sizes))].view(sizes)

    # --- languages ----------------------------------------------------------------------------------

    def languages(self, rows: int, context: int) -> PendingCopy:
        """The probability of each of `Tokens.languages` for each staged row: [B, languages]."""
        size = bucket(self.batches, rows)
        buffers = self._staging(size, context), self._language_probabilities[:size]
        self._runtime.replay(("language", size, context), self._detect, buffers)
        return self._runtime.download(self._language_probabilities[:rows])

    def _detect(self, cross: Tensor, probabilities: Tensor) -> None:
        start = torch.full((cross.shape[2], 1), self._tokens.sot, device=cross.device)
        logits = self._model.logits(self._model.prompt(start, cross)[:, 0])
        probabilities.copy_(logits[:, self._languages].softmax(-1))

    # --- admit --------------------------------------------------------------------------------------

    def admit(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], fresh: Sequence[bool], context: int
    ) -> PendingCopy:
        """Move the staged rows into slots. Returns [3, B]: first token, its log probability, probability of no speech.

        Args:
            slots: of each row.
            prompts: the forced tokens of each row.
            fresh: whether a row's text begins after its prompt, not within it.
            context: encoder positions of each staged row.
        """
        rows = len(slots)
        size, longest = bucket(self.batches, rows), bucket(PROMPTS, max(len(prompt) for prompt in prompts))
        joining_rows = np.zeros((3, size), np.int64)
        joining_rows[0] = self.count
        joining_rows[1] = 1
        joining_rows[:, :rows] = slots, [len(prompt) for prompt in prompts], fresh
        text = np.full((size, longest), self._tokens.eot, np.int64)
        for line, prompt in zip(text, prompts, strict=False):
            line[: len(prompt)] = prompt
        tokens = self._prompt[: size * longest].view(size, longest)
        joining, joined = self._joining[:, :size], self._joined[:, :size]
        self._runtime.upload(tokens, text)
        self._runtime.upload(joining, joining_rows)
        shape = self._model.shape
        sizes = (shape.decoder_layers, 2, size, shape.heads, longest, shape.head)
        own = self._prompted[: int(np.prod(sizes))].view(sizes)
        buffers = tokens, joining, self._staging(size, context), own, joined
        self._runtime.replay(("admit", size, longest, context), self._admit, buffers)
        return self._runtime.download(joined[:, :rows])

    def _admit(self, tokens: Tensor, joining: Tensor, cross: Tensor, own: Tensor, joined: Tensor) -> None:
        slots, lengths, fresh = joining.unbind(0)
        hidden = self._model.prompt(tokens, cross, own)
        length, context = own.shape[4], cross.shape[4]
        # Clear the slot's last row: even where the mask hides it, a NaN would spread.
        self.own[:, :, :, :, length:].index_fill_(2, slots, 0.0)
        self.cross[:, :, :, :, context:].index_fill_(2, slots, 0.0)
        self.own[:, :, :, :, :length].index_copy_(2, slots, own)
        self.cross[:, :, :, :, :context].index_copy_(2, slots, cross)
        every = torch.arange(len(slots), device=slots.device)
        ends = hidden[torch.stack((every, every)), torch.stack((lengths - 1, torch.zeros_like(lengths)))]
        last, first = self._model.logits(ends).unbind(0)
        suppressed = self._suppressed + torch.where(fresh.bool()[:, None], self._suppressed_first, 0.0)
        token, log_probability = _likeliest(last + suppressed)
        silent = first.softmax(-1)[:, self._tokens.no_speech]
        joined.copy_(torch.stack((token.float(), log_probability, silent)))
        self.newest.index_copy_(0, slots, token)
        self.positions.index_copy_(0, slots, lengths)
        self.lengths.index_fill_(0, slots, context)

    # --- step ---------------------------------------------------------------------------------------

    def step(self, rows: int, position: int, context: int) -> PendingCopy:
        """Advance the first `rows` slots by a token. Returns [2, rows]: token and log probability.

        Args:
            rows: the number of the last active slot, plus one.
            position: the highest position of a newest token.
            context: the most encoder positions of a row.
        """
        size = min(bucket(self.batches, rows), self.count)
        text, positions_read = bucket(TEXTS, position + 1), bucket(CONTEXTS, context)
        state = self.newest[:size], self.positions[:size], self.lengths[:size]
        own, cross = self.own[:, :, :size, :, :text], self.cross[:, :, :size, :, :positions_read]
        stepped, following = self._stepped[:, :size], self._next[:, :size]
        self._runtime.replay(("step", size, text, positions_read), self._step, (*state, own, cross, stepped, following))
        tokens = self._runtime.download(stepped[:, :rows])
        # Outside the step, which a capture runs twice; and last, so that a failed step can be repeated.
        self._at[:, :size].copy_(following)
        return tokens

    def _step(
        self,
        newest: Tensor,
        positions: Tensor,
        lengths: Tensor,
        own: Tensor,
        cross: Tensor,
        stepped: Tensor,
        following: Tensor,
    ) -> None:
        hidden = self._model.step(newest, positions, own, cross, lengths)
        token, log_probability = _likeliest(self._model.logits(hidden) + self._suppressed)
        stepped.copy_(torch.stack((token.float(), log_probability)))
        following.copy_(torch.stack((token, (positions + 1).clamp_max(TEXT_POSITIONS - 1))))

    # --- times of words -----------------------------------------------------------------------------

    def aligned(self, slot: int, tokens: Sequence[int], context: int) -> tuple[PendingCopy, PendingCopy]:
        """A row's text once more: probability of each next token [P], alignment heads' attention [heads, P, C]."""
        text = torch.zeros((1, len(tokens)), dtype=torch.int64, device=self._runtime.device)
        self._runtime.upload(text, np.array([tokens], np.int64))
        hidden, weights = self._model.aligned(text, self.cross[:, :, slot : slot + 1, :, :context])
        # Among text tokens only, so that special tokens take no share.
        chances = self._model.logits(hidden)[0, :, : self._tokens.eot].softmax(-1)
        after = text[0].roll(-1).clamp_max(self._tokens.eot - 1)
        picked = chances.gather(1, after[:, None])[:, 0].contiguous()
        return self._runtime.download(picked), self._runtime.download(weights[0].softmax(-1).contiguous())


def _likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest token of each row and its log probability, which is NaN where the logits are."""
    chances = logits.log_softmax(-1)
    token = logits.argmax(-1)
    return token, chances.gather(-1, token[:, None])[:, 0]
