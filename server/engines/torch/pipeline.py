"""The engine's one thread: batches are encoded while rows are decoded; rows join and leave between two steps.

The host reads each step's tokens one step late, so that the device never waits for it. A row that has ended therefore
computes one more token, which is ignored.
"""

import contextlib
import heapq
import logging
import os
import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from server.engines.torch.decode_rows import Work
from server.engines.torch.decoder_slots import DecoderSlots
from server.engines.torch.device_runtime import DECODE, ENCODE, DeviceEvent, DeviceRuntime, PendingCopy, out_of_memory
from server.engines.torch.features import Features

log = logging.getLogger("whisper_ops.worker")


@dataclass(eq=False)
class Batch:
    """Rows that are encoded together. `has_room` is set when there is room for the next batch."""

    works: list[Work]
    frames: int
    has_room: threading.Event


@dataclass(frozen=True)
class _PendingTokens:
    """Tokens being copied to the host: of a step, one for each slot; of an admission, one for each of `works`."""

    works: list[Work]
    copy: PendingCopy
    is_step: bool = False


@dataclass
class PipelineCounts:
    """Since the start."""

    steps: int = 0
    rows: int = 0
    tokens: int = 0
    forced: int = 0
    """Tokens of prefixes."""


class Pipeline:
    """Owns the thread and the rows.

    `prompt` makes a row's forced tokens, from the languages' probabilities where the row names none. `finish` delivers
    a row whose last token came, while its slot still holds it.
    """

    def __init__(
        self,
        runtime: DeviceRuntime,
        features: Features,
        slots: DecoderSlots,
        prompt: Callable[[Work, NDArray[np.float32] | None], list[int]],
        finish: Callable[[Work], None],
        eot: int,
    ) -> None:
        self._runtime, self._features, self._slots, self._eot = runtime, features, slots, eot
        self._prompt, self._finish = prompt, finish
        self._waiting: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._retry: deque[Batch] = deque()
        self._free = list(range(slots.count))
        self._active: list[Work] = []
        self._encoding: tuple[Batch, DeviceEvent] | None = None
        self._admitted: DeviceEvent | None = None
        """The staging buffer is in use until this event."""
        self._pending: deque[_PendingTokens] = deque()
        self.counts = PipelineCounts()
        self._thread = threading.Thread(target=self._run, name="torch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, works: Sequence[Work], frames: int) -> threading.Event:
        """Queue rows with one window length; the event is set when there is room for more."""
        batch = Batch(list(works), frames, threading.Event())
        self._waiting.put(batch)
        return batch.has_room

    def close(self) -> None:
        """End the thread after its current round."""
        self._waiting.put(None)
        self._thread.join(10)

    @property
    def active(self) -> int:
        """Rows in slots."""
        return len(self._active)

    def _run(self) -> None:
        self._runtime.bind()
        with torch.inference_mode():
            is_running = True
            while is_running:
                try:
                    is_running = self._round()
                except Exception as error:  # whatever it was, every row gets an answer
                    log.exception("The engine failed; its rows are lost")
                    self._recover(error)
                    self._fail_all(error)

    def _fail_all(self, error: Exception) -> None:
        """Fail every row that is being encoded or decoded."""
        batch, self._encoding = self._encoding, None
        if batch is not None:
            for work in batch[0].works:
                self._fail(work, error)
            batch[0].has_room.set()
        for work in list(self._active):
            self._drop(work, error)
        self._pending.clear()

    def _round(self) -> bool:
        """Encode a batch, admit an encoded one, step, read; False ends the thread."""
        if self._encoding is None and not self._next_batch():
            return False
        if self._encoding is not None:
            batch, encoded = self._encoding
            if len(self._free) >= len(batch.works) and (not self._active or encoded.query()):
                self._encoding = None
                with self._guarded(batch):
                    self._join(batch, encoded)
                    batch.has_room.set()
        if self._active:
            self._step()
        while len(self._pending) > bool(self._active):
            self._read(self._pending.popleft())
        return True

    def _next_batch(self) -> bool:
        if self._retry:
            batch: Batch | None = self._retry.popleft()
        else:
            try:
                batch = self._waiting.get(block=not self._active and not self._pending)
            except queue.Empty:
                return True
        if batch is None:
            return False
        with self._guarded(batch):
            self._encode(batch)
        return True

    # --- a batch ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _guarded(self, batch: Batch) -> Iterator[None]:
        """Retry a failed batch in halves, the older rows first; a row that fails alone is lost."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever it was, it should cost few rows
            self._recover(error)
            self._halve(batch, error)

    def _recover(self, error: Exception) -> None:
        """Free memory after an out-of-memory error; exit when the device is lost, so that a new worker starts."""
        if out_of_memory(error):
            # The traceback's frames still hold the tensors of the failed call.
            traceback.clear_frames(error.__traceback__)
            with contextlib.suppress(RuntimeError):
                self._runtime.shrink()
        if not self._runtime.alive():
            log.critical("The device is lost; this worker ends", exc_info=error)
            os._exit(70)

    def _halve(self, batch: Batch, error: Exception) -> None:
        works = [work for work in batch.works if not work.is_over]
        for work in works:
            self._release(work)
        if len(works) <= 1:
            for work in works:
                self._fail(work, error)
            batch.has_room.set()
            return
        half = (len(works) + 1) // 2
        for part in (works[half:], works[:half]):
            self._retry.appendleft(Batch(part, batch.frames, batch.has_room))

    def _encode(self, batch: Batch) -> None:
        with self._runtime.lane(ENCODE):
            self._runtime.wait(self._admitted)
            keys = [work.window_key for work in batch.works]
            audios = [work.row.audio for work in batch.works]
            self._slots.encode(self._features.batch(keys, audios, batch.frames))
            self._encoding = batch, self._runtime.mark()

    def _join(self, batch: Batch, encoded: DeviceEvent) -> None:
        works, positions = batch.works, batch.frames // 2
        with self._runtime.lane(DECODE):
            self._runtime.wait(encoded)
            guesses: list[NDArray[np.float32] | None] = [None] * len(works)
            if any(work.language is None for work in works):
                guesses = list(self._slots.languages(len(works), positions).get())
            for work, guess in zip(works, guesses, strict=True):
                work.prompt = self._prompt(work, guess)
                work.slot = heapq.heappop(self._free)
            fresh = [not work.prefix for work in works]
            pending = self._slots.admit([w.slot for w in works], [w.prompt for w in works], fresh, positions)
            self._admitted = self._runtime.mark()
        self._active += works
        self._pending.append(_PendingTokens(list(works), pending))
        self.counts.rows += len(works)
        self.counts.forced += sum(len(work.prefix) for work in works)

    # --- rows ---------------------------------------------------------------------------------------

    def _step(self) -> None:
        works = list(self._active)
        rows = max(work.slot for work in works) + 1
        position = max(work.position for work in works)
        context = max(work.positions for work in works)
        try:
            with self._runtime.lane(DECODE):
                pending = self._slots.step(rows, position, context)
        except Exception as error:  # noqa: BLE001  # without the newest row the others may go on
            self._recover(error)
            self._drop(works[-1], error)
            return
        for work in works:
            work.steps += 1
        self.counts.steps += 1
        self._pending.append(_PendingTokens(works, pending, is_step=True))

    def _read(self, pending: _PendingTokens) -> None:
        tokens = pending.copy.get()
        for i, work in enumerate(pending.works):
            if work.is_over:
                continue
            column = work.slot if pending.is_step else i
            if not pending.is_step:
                work.no_speech = float(tokens[2, column])
            self._add_token(work, int(tokens[0, column]), float(tokens[1, column]))

    def _add_token(self, work: Work, token: int, log_probability: float) -> None:
        self.counts.tokens += 1
        try:
            work.add_token(token, log_probability, self._eot)
            if work.is_over:
                self._finish_in_lane(work)
        except Exception as error:  # noqa: BLE001  # this row's alone
            self._recover(error)
            self._drop(work, error)
            return
        if work.is_over:
            self._remove(work)

    def _finish_in_lane(self, work: Work) -> None:
        with self._runtime.lane(DECODE):
            try:
                self._finish(work)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                self._recover(error)
                # Only the alignment is missing: once more, with the memory just freed.
                self._finish(work)

    def _drop(self, work: Work, error: Exception) -> None:
        work.is_over = True
        self._remove(work)
        self._fail(work, error)

    def _remove(self, work: Work) -> None:
        self._active.remove(work)
        self._release(work)

    def _release(self, work: Work) -> None:
        if work.slot >= 0:
            heapq.heappush(self._free, work.slot)
            work.slot = -1

    def _fail(self, work: Work, error: Exception) -> None:
        work.is_over = True
        self._features.forget(work.window_key)
        work.deliver(error)
