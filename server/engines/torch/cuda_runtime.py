"""`DeviceRuntime` on one CUDA GPU.

What a capture may not do is CUDA's rule: wait for the device, read from it, allocate outside the graph's pool. What
torch adds: a pool whose last graph has gone cannot be used again, nor one whose capture was broken off.
"""

import contextlib
import gc
import logging
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from server.engines.torch.device_runtime import (
    DECODE,
    ENCODE,
    MOST_GRAPHS,
    DeviceEvent,
    DeviceMemory,
    PendingCopy,
    Tensor,
    out_of_memory,
)
from server.engines.torch.graph_cache import GraphCache

log = logging.getLogger("whisper_ops.worker")


class _PinnedCopy:
    """A pinned buffer that is full when its event has passed."""

    def __init__(self, data: Tensor, event: DeviceEvent) -> None:
        self._data, self._event = data, event

    def get(self) -> NDArray[np.float32]:
        self._event.synchronize()
        copied: NDArray[np.float32] = self._data.numpy()
        return copied


class CudaRuntime:
    """Used from one thread at a time. The decoder's lane has priority over the encoder's."""

    gpu = True

    def __init__(self, index: int, most_graphs: int = MOST_GRAPHS) -> None:
        self.device, self._index = torch.device("cuda", index), index
        self.bind()
        # cuDNN's attention makes a plan for each shape, of which there are hundreds here.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self._lanes = {ENCODE: torch.cuda.Stream(priority=0), DECODE: torch.cuda.Stream(priority=-1)}
        # Graphs of one lane never run at the same time, so they share their working memory; the lanes do run together.
        self._pools = {name: torch.cuda.graph_pool_handle() for name in self._lanes}
        self._graphs = GraphCache(most_graphs)
        self._uncaptured: dict[tuple[str, Hashable], Exception] = {}
        self._broken: list[Any] = []
        """Captures that were broken off: torch goes on asking them which stream was theirs."""

    @property
    def graphs(self) -> int:
        return len(self._graphs)

    @property
    def uncaptured(self) -> int:
        return len(self._uncaptured)

    def bind(self) -> None:
        """Without it a thread's pinned buffers would open a context on the first GPU."""
        torch.cuda.set_device(self._index)

    # --- graphs -------------------------------------------------------------------------------------

    def replay(self, key: Hashable, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str = DECODE) -> None:
        """A shape that cannot be captured, for whatever reason but memory, runs without."""
        with self.lane(lane):
            if (lane, key) in self._uncaptured:
                fn(*buffers)
                return
            graph = self._graphs.get(lane, key, buffers)
            if graph is None:
                graph = self._prepared(key, fn, buffers, lane)
                if graph is None:
                    return
                self._graphs.put(lane, key, buffers, graph)
            graph.replay()

    def _prepared(self, key: Hashable, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str) -> Any:  # noqa: ANN401
        """A graph; None where there can be none, and the rehearsal was all."""
        # Libraries set themselves up in the first run, which a capture must not see.
        fn(*buffers)
        # After this nothing runs: the graph that has to go for this one may go.
        torch.cuda.synchronize(self._index)
        try:
            try:
                return self._captured(fn, buffers, lane)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                # What the rehearsal used is held ready, but not for graphs, and a capture cannot give it back.
                traceback.clear_frames(error.__traceback__)
            torch.cuda.empty_cache()
            return self._captured(fn, buffers, lane)
        except RuntimeError as error:
            if not self.alive():
                raise
            # The rehearsal ran: what is missing is the graph alone, and nobody has to be lost for it.
            log.warning("The shape %s cannot be captured and runs operation by operation: %s", key, error)
            traceback.clear_frames(error.__traceback__)
            self._uncaptured[lane, key] = error.with_traceback(None)
            return None

    def _captured(self, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str) -> Any:  # noqa: ANN401  # CUDA's graph
        if not self._graphs.in_lane(lane):
            self._renew(lane)
        graph = torch.cuda.CUDAGraph()
        try:
            with _uncollected():
                # Not `torch.cuda.graph`, which empties the cache each time: at the start there are hundreds.
                graph.capture_begin(pool=self._pools[lane], capture_error_mode="thread_local")
                try:
                    fn(*buffers)
                except BaseException:
                    # What matters is why, not that the capture is void then.
                    with contextlib.suppress(RuntimeError):
                        self._end(graph, lane)
                    raise
                self._end(graph, lane)
        except BaseException:
            self._renew(lane)
            raise
        return graph

    def _end(self, graph: Any, lane: str) -> None:  # noqa: ANN401  # torch's
        try:
            graph.capture_end()
        except RuntimeError:
            self._broken.append(graph)
            # torch leaves its allocator in the capture, where nothing that is cached is ever given back.
            with contextlib.suppress(AttributeError, RuntimeError):
                torch._C._cuda_endAllocateToPool(self._index, self._pools[lane])  # noqa: SLF001
            raise

    def _renew(self, lane: str) -> None:
        self._pools[lane] = torch.cuda.graph_pool_handle()

    # --- copies -------------------------------------------------------------------------------------

    def upload(self, target: Tensor, source: NDArray[Any]) -> None:
        # torch keeps a pinned buffer until the copy that reads it is done.
        pinned = torch.empty(source.shape, dtype=target.dtype, pin_memory=True)
        pinned.copy_(torch.from_numpy(source))
        target.copy_(pinned, non_blocking=True)

    def download(self, source: Tensor) -> PendingCopy:
        pinned = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        pinned.copy_(source, non_blocking=True)
        return _PinnedCopy(pinned, self.mark())

    # --- lanes --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lane(self, name: str) -> Iterator[None]:
        with torch.cuda.stream(self._lanes[name]):
            yield

    def mark(self) -> DeviceEvent:
        # A blocking event sleeps: a thread that spun would take the core that feeds the streams.
        event: DeviceEvent = torch.cuda.Event(blocking=True)
        event.record()  # type: ignore[attr-defined]  # torch's own has it
        return event

    def wait(self, event: DeviceEvent | None) -> None:
        if event is not None:
            torch.cuda.current_stream().wait_event(event)

    # --- the device ---------------------------------------------------------------------------------

    def memory(self) -> DeviceMemory:
        free, total = torch.cuda.mem_get_info(self._index)
        allocated = torch.cuda.memory_allocated(self._index)
        return DeviceMemory(float(allocated), float(torch.cuda.memory_reserved(self._index)), float(free), float(total))

    def shrink(self) -> None:
        torch.cuda.synchronize(self._index)
        self._graphs.clear()
        # With the room that is made, what lacked memory may be captured next time.
        self._uncaptured = {key: error for key, error in self._uncaptured.items() if not out_of_memory(error)}
        gc.collect()
        # After a capture that was broken off torch may refuse; what it holds is then used again by itself.
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()

    def settle(self) -> None:
        torch.cuda.synchronize(self._index)

    def alive(self) -> bool:
        """After a fault in a kernel every later call of the process fails too."""
        try:
            torch.cuda.synchronize(self._index)
        except RuntimeError:
            return False
        return True


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is collected: what it frees could be a graph or an event, which a capture must not see go."""
    going = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if going:
            gc.enable()
