"""The engine's one thread: batches are encoded while rows are decoded, and rows join and leave between two steps.

The host reads each step's tokens once, one step behind: the next step is on its way before the last one is looked at. A
row that has ended makes one token more that way, which nobody reads.
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
    """Rows that are encoded together. `taken` is set when there is room for the next batch."""

    works: list[Work]
    frames: int
    taken: threading.Event


@dataclass(frozen=True)
class _Reading:
    """Tokens on their way to the host. `is_step`: of every slot, else of the rows that were admitted."""

    works: list[Work]
    pending: PendingCopy
    is_step: bool = False


@dataclass
class PipelineCounts:
    """What the thread has done so far."""

    steps: int = 0
    rows: int = 0
    tokens: int = 0
    forced: int = 0
    """Tokens that came as a prefix."""


class Pipeline:
    """See the module.

    `prompt` is told how probable each language is of a row that names none. `finish` makes a hypothesis of a row that
    has said everything, while its slot still holds it.
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
        """Until then the staging buffer is in use."""
        self._reading: deque[_Reading] = deque()
        self.counts = PipelineCounts()
        self._thread = threading.Thread(target=self._run, name="torch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, works: Sequence[Work], frames: int) -> threading.Event:
        """Take rows of one length. The event is set when there is room for more."""
        batch = Batch(list(works), frames, threading.Event())
        self._waiting.put(batch)
        return batch.taken

    def close(self) -> None:
        """End the thread, after what it is doing."""
        self._waiting.put(None)
        self._thread.join(10)

    @property
    def active(self) -> int:
        """Rows in slots."""
        return len(self._active)

    def _run(self) -> None:
        self._runtime.bind()
        with torch.inference_mode():
            going = True
            while going:
                try:
                    going = self._turn()
                except Exception as error:  # what nobody below expected must not leave rows untold
                    log.exception("The engine failed; its rows are lost")
                    self._survive(error)
                    self._lose(error)

    def _lose(self, error: Exception) -> None:
        """Tell every row that is in work that it is lost."""
        batch, self._encoding = self._encoding, None
        if batch is not None:
            for work in batch[0].works:
                self._fail(work, error)
            batch[0].taken.set()
        for work in list(self._active):
            self._drop(work, error)
        self._reading.clear()

    def _turn(self) -> bool:
        """One round: begin a batch, let an encoded one join, step, read. False: it is over."""
        if self._encoding is None and not self._take():
            return False
        if self._encoding is not None:
            batch, encoded = self._encoding
            if len(self._free) >= len(batch.works) and (not self._active or encoded.query()):
                self._encoding = None
                with self._guarded(batch):
                    self._join(batch, encoded)
                    batch.taken.set()
        if self._active:
            self._step()
        while len(self._reading) > bool(self._active):
            self._read(self._reading.popleft())
        return True

    def _take(self) -> bool:
        if self._retry:
            batch: Batch | None = self._retry.popleft()
        else:
            try:
                batch = self._waiting.get(block=not self._active and not self._reading)
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
        """What fails is tried again in halves, the older rows first; a row that fails alone is lost."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever it is, it must cost as few rows as can be
            self._survive(error)
            self._halve(batch, error)

    def _survive(self, error: Exception) -> None:
        """Make room after an error of memory; end the process when the device is lost, so that another takes over."""
        if out_of_memory(error):
            # What failed is still held by where it failed.
            traceback.clear_frames(error.__traceback__)
            with contextlib.suppress(RuntimeError):
                self._runtime.shrink()
        if not self._runtime.alive():
            log.critical("The device is lost; this worker ends", exc_info=error)
            os._exit(70)

    def _halve(self, batch: Batch, error: Exception) -> None:
        works = [work for work in batch.works if not work.over]
        for work in works:
            self._release(work)
        if len(works) <= 1:
            for work in works:
                self._fail(work, error)
            batch.taken.set()
            return
        half = (len(works) + 1) // 2
        for part in (works[half:], works[:half]):
            self._retry.appendleft(Batch(part, batch.frames, batch.taken))

    def _encode(self, batch: Batch) -> None:
        with self._runtime.lane(ENCODE):
            self._runtime.wait(self._admitted)
            keys = [work.key for work in batch.works]
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
        self._reading.append(_Reading(list(works), pending))
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
        except Exception as error:  # noqa: BLE001  # a row fails, and then perhaps the others go on
            self._survive(error)
            self._drop(works[-1], error)
            return
        for work in works:
            work.steps += 1
        self.counts.steps += 1
        self._reading.append(_Reading(works, pending, is_step=True))

    def _read(self, reading: _Reading) -> None:
        found = reading.pending.get()
        for i, work in enumerate(reading.works):
            if work.over:
                continue
            column = work.slot if reading.is_step else i
            if not reading.is_step:
                work.no_speech = float(found[2, column])
            self._hear(work, int(found[0, column]), float(found[1, column]))

    def _hear(self, work: Work, token: int, chance: float) -> None:
        self.counts.tokens += 1
        try:
            work.take(token, chance, self._eot)
            if work.over:
                self._finish_in_lane(work)
        except Exception as error:  # noqa: BLE001  # this row's alone
            self._survive(error)
            self._drop(work, error)
            return
        if work.over:
            self._leave(work)

    def _finish_in_lane(self, work: Work) -> None:
        with self._runtime.lane(DECODE):
            try:
                self._finish(work)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                self._survive(error)
                # Everything is said, and only the words' times are missing: once more, with the room that was made.
                self._finish(work)

    def _drop(self, work: Work, error: Exception) -> None:
        work.over = True
        self._leave(work)
        self._fail(work, error)

    def _leave(self, work: Work) -> None:
        self._active.remove(work)
        self._release(work)

    def _release(self, work: Work) -> None:
        if work.slot >= 0:
            heapq.heappush(self._free, work.slot)
            work.slot = -1

    def _fail(self, work: Work, error: Exception) -> None:
        work.over = True
        self._features.forget(work.key)
        work.tell(error)
