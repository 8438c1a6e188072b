"""`DeviceRuntime` on one CUDA GPU.

CUDA forbids a capture to wait for the device, read from it, or allocate outside the graph's pool. torch adds: a pool
whose last graph was freed cannot be used again, nor one whose capture was broken off.
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
    """A pinned buffer that is complete after its event."""

    def __init__(self, data: Tensor, event: DeviceEvent) -> None:
        self._data, self._event = data, event

    def get(self) -> NDArray[np.float32]:
        self._event.synchronize()
        copied: NDArray[np.float32] = self._data.numpy()
        return copied


class CudaRuntime:
    """The decoder's lane has priority over the encoder's."""

    gpu = True

    def __init__(self, index: int, most_graphs: int = MOST_GRAPHS) -> None:
        self.device, self._index = torch.device("cuda", index), index
        self.bind()
        # cuDNN's attention plans each shape anew, and there are hundreds.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self._lanes = {ENCODE: torch.cuda.Stream(priority=0), DECODE: torch.cuda.Stream(priority=-1)}
        # Graphs of one lane never run at the same time, so they share a pool; the two lanes overlap.
        self._pools = {name: torch.cuda.graph_pool_handle() for name in self._lanes}
        self._graphs = GraphCache(most_graphs)
        self._uncaptured: dict[tuple[str, Hashable], Exception] = {}
        self._broken: list[Any] = []
        """Captures that were broken off; torch still reads their stream, so they must live."""

    @property
    def graphs(self) -> int:
        return len(self._graphs)

    @property
    def uncaptured(self) -> int:
        return len(self._uncaptured)

    def bind(self) -> None:
        """Otherwise pinned buffers of this thread would open a context on GPU 0."""
        torch.cuda.set_device(self._index)

    # --- graphs -------------------------------------------------------------------------------------

    def replay(self, key: Hashable, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str = DECODE) -> None:
        """A shape that cannot be captured runs operation by operation."""
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
        """Run once, then capture; None if the capture failed after the run."""
        # Libraries initialise themselves in the first run, which a capture does not allow.
        fn(*buffers)
        # Nothing runs after this, so the cache may free a graph for this one.
        torch.cuda.synchronize(self._index)
        try:
            try:
                return self._captured(fn, buffers, lane)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                # torch's cache still holds the run's memory, which a capture can neither use nor free.
                traceback.clear_frames(error.__traceback__)
            torch.cuda.empty_cache()
            return self._captured(fn, buffers, lane)
        except RuntimeError as error:
            if not self.alive():
                raise
            # The run succeeded; only the graph is missing, so no row is lost.
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
                # Not `torch.cuda.graph`, which empties the cache each time: the start captures hundreds.
                graph.capture_begin(pool=self._pools[lane], capture_error_mode="thread_local")
                try:
                    fn(*buffers)
                except BaseException:
                    # Report the cause, not the aborted capture.
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
            # torch leaves its allocator in capture mode, where cached memory is never freed.
            with contextlib.suppress(AttributeError, RuntimeError):
                torch._C._cuda_endAllocateToPool(self._index, self._pools[lane])  # noqa: SLF001
            raise

    def _renew(self, lane: str) -> None:
        self._pools[lane] = torch.cuda.graph_pool_handle()

    # --- copies -------------------------------------------------------------------------------------

    def upload(self, target: Tensor, source: NDArray[Any]) -> None:
        # torch frees a pinned buffer only after the copy that reads it.
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
        # A blocking event sleeps; spinning would take the core of the event loop.
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
        # Shapes that failed for lack of memory may be captured now.
        self._uncaptured = {key: error for key, error in self._uncaptured.items() if not out_of_memory(error)}
        gc.collect()
        # torch may refuse after an aborted capture; its cache is then reused as it is.
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()

    def settle(self) -> None:
        torch.cuda.synchronize(self._index)

    def alive(self) -> bool:
        """After a kernel fault every later call of the process fails."""
        try:
            torch.cuda.synchronize(self._index)
        except RuntimeError:
            return False
        return True


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: it might free a graph or an event, which a capture does not allow."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
