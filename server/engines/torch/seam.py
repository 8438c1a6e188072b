"""The one place that knows whether there is a GPU: replayed graphs, streams, events, pinned copies, memory.

`replay(key, fn, buffers)` runs `fn(*buffers)`. On CUDA it is captured once for each key and replayed after; on a CPU it
is called. Either way the same rules hold, and the CPU checks them: no buffer of a key moves, and `fn` reads and writes
nothing else that may, has no other effect, and may be run again on the same input (a capture is rehearsed first).
"""

import contextlib
import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from server.engines.base import UnfitError

Tensor = Any
"""`torch.Tensor`."""
ENCODE, DECODE = "encode", "decode"
"""The lanes: what runs in one is in order; the two overlap."""
MOST_GRAPHS = 512
"""Graphs kept, of about a megabyte each; the one unused for longest goes first."""


class Pending(Protocol):
    """A copy from the device, on its way."""

    def get(self) -> NDArray[np.float32]:
        """Wait for it."""
        ...


class Event(Protocol):
    """A place in a lane."""

    def query(self) -> bool:
        """Whether everything before it is done."""
        ...

    def synchronize(self) -> None:
        """Wait until it is."""
        ...


@dataclass(frozen=True)
class Memory:
    """Bytes of the device: what tensors take, what torch holds for them, and the device's own."""

    allocated: float
    reserved: float
    free: float
    total: float


class Seam(Protocol):
    """See the module."""

    device: Any

    def replay(self, key: Hashable, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str = DECODE) -> None:
        """Run `fn(*buffers)` in the current lane."""
        ...

    def upload(self, target: Tensor, source: NDArray[Any]) -> None:
        """Copy host data into a tensor on the device, in the current lane."""
        ...

    def download(self, source: Tensor) -> Pending:
        """Begin to copy a float32 tensor to the host, in the current lane."""
        ...

    def lane(self, name: str) -> contextlib.AbstractContextManager[None]:
        """What is done in the block is done in that lane."""
        ...

    def mark(self) -> Event:
        """The present end of the current lane."""
        ...

    def wait(self, event: Event | None) -> None:
        """Let what follows in the current lane begin after the event."""
        ...

    def memory(self) -> Memory:
        """How the device's memory stands."""
        ...

    def shrink(self) -> None:
        """Give back what is only held ready."""
        ...

    def settle(self) -> None:
        """Wait for everything in every lane."""
        ...

    def alive(self) -> bool:
        """Whether the device still works."""
        ...


@dataclass
class _Shape:
    """What is held of a key."""

    places: tuple[tuple[int, tuple[int, ...]], ...]
    graph: Any = None


class _Held:
    """Keys in order of their last use, and the buffers each was first run with."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._shapes: OrderedDict[Hashable, _Shape] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shapes)

    def get(self, key: Hashable, buffers: Sequence[Tensor]) -> tuple[_Shape, bool]:
        """What is held, and whether it is new.

        Raises:
            RuntimeError: the key's buffers are not those of before; a replayed graph would use the old ones.
        """
        places = tuple((buffer.data_ptr(), tuple(buffer.shape)) for buffer in buffers)
        shape = self._shapes.get(key)
        if shape is not None and shape.places != places:
            raise RuntimeError(f"the buffers of {key} have moved")
        new = shape is None
        if shape is None:
            shape = self._shapes[key] = _Shape(places)
            if len(self._shapes) > self._most:
                self._shapes.popitem(last=False)
        self._shapes.move_to_end(key)
        return shape, new

    def forget(self, key: Hashable) -> None:
        """A key that could not be made ready."""
        self._shapes.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._shapes.clear()


class _Arrived:
    def __init__(self, data: NDArray[np.float32]) -> None:
        self._data = data

    def get(self) -> NDArray[np.float32]:
        return self._data


class _Past:
    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass


class HostSeam:
    """The CPU: nothing overlaps, and every rule of the module is checked."""

    def __init__(self, threads: int = 1, most_graphs: int = MOST_GRAPHS) -> None:
        torch.set_num_threads(threads)
        self.device = torch.device("cpu")
        self._held = _Held(most_graphs)
        self._used = 0.0

    def replay(self, key: Hashable, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str = DECODE) -> None:
        """See `Seam`."""
        shape, new = self._held.get((lane, key), buffers)
        if new:
            # As a capture is rehearsed: what must not be run twice shows here. And as a graph does, a later call runs
            # what was captured, on the buffers of that time, whatever is handed in.
            shape.graph = partial(fn, *buffers)
            shape.graph()
        shape.graph()

    def upload(self, target: Tensor, source: NDArray[Any]) -> None:
        """See `Seam`."""
        target.copy_(torch.from_numpy(source))

    def download(self, source: Tensor) -> Pending:
        """See `Seam`."""
        return _Arrived(source.clone().numpy())

    @contextlib.contextmanager
    def lane(self, name: str) -> Iterator[None]:  # noqa: ARG002  # there is one
        """See `Seam`."""
        yield

    def mark(self) -> Event:
        """See `Seam`."""
        return _Past()

    def wait(self, event: Event | None) -> None:
        """See `Seam`."""

    def memory(self) -> Memory:
        """See `Seam`."""
        import psutil  # noqa: PLC0415  # a machine with nothing but torch has a GPU

        from whisper_ops.telemetry import host  # noqa: PLC0415  # needs psutil

        here, own = host.memory(), float(psutil.Process().memory_info().rss)
        return Memory(own, own, float(here.available), float(here.total))

    def shrink(self) -> None:
        """See `Seam`."""
        self._held.clear()

    def settle(self) -> None:
        """See `Seam`."""

    def alive(self) -> bool:
        """See `Seam`."""
        return True


class _Copied:
    """A pinned buffer that is full when its event has passed."""

    def __init__(self, data: Tensor, event: Any) -> None:  # noqa: ANN401  # torch's
        self._data, self._event = data, event

    def get(self) -> NDArray[np.float32]:
        self._event.synchronize()
        copied: NDArray[np.float32] = self._data.numpy()
        return copied


class CudaSeam:
    """One CUDA GPU, used from one thread at a time. The decoder's lane has priority over the encoder's."""

    def __init__(self, index: int, most_graphs: int = MOST_GRAPHS) -> None:
        torch.cuda.set_device(index)
        self.device = torch.device("cuda", index)
        # Graphs of one lane never run at the same time, so they share their working memory; the lanes do run together.
        self._pools = {name: torch.cuda.graph_pool_handle() for name in (ENCODE, DECODE)}
        self._lanes = {ENCODE: torch.cuda.Stream(priority=0), DECODE: torch.cuda.Stream(priority=-1)}
        self._held = _Held(most_graphs)

    def replay(self, key: Hashable, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str = DECODE) -> None:
        """See `Seam`."""
        shape, new = self._held.get((lane, key), buffers)
        if new:
            try:
                shape.graph = self._captured(fn, buffers, lane)
            except BaseException:
                self._held.forget((lane, key))
                raise
        shape.graph.replay()

    def _captured(self, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str) -> Any:  # noqa: ANN401  # CUDA's graph
        stream = self._lanes[lane]
        # Libraries set themselves up in the first run, which a capture must not see.
        with torch.cuda.stream(stream):
            fn(*buffers)
            torch.cuda.synchronize(self.device)
            graph = torch.cuda.CUDAGraph()
            # Not `torch.cuda.graph`, which collects garbage each time: hundreds of shapes are captured at the start.
            graph.capture_begin(pool=self._pools[lane], capture_error_mode="thread_local")
            try:
                fn(*buffers)
            except BaseException:
                # The capture is void, and its end says so; what matters is why.
                with contextlib.suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        return graph

    def upload(self, target: Tensor, source: NDArray[Any]) -> None:
        """See `Seam`."""
        # torch keeps a pinned buffer until the copy that reads it is done.
        pinned = torch.empty(source.shape, dtype=target.dtype, pin_memory=True)
        pinned.copy_(torch.from_numpy(source))
        target.copy_(pinned, non_blocking=True)

    def download(self, source: Tensor) -> Pending:
        """See `Seam`."""
        pinned = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        pinned.copy_(source, non_blocking=True)
        return _Copied(pinned, self.mark())

    @contextlib.contextmanager
    def lane(self, name: str) -> Iterator[None]:
        """See `Seam`."""
        with torch.cuda.stream(self._lanes[name]):
            yield

    def mark(self) -> Event:
        """See `Seam`."""
        # A blocking event sleeps: a thread that spun would take the core that feeds the streams.
        event: Event = torch.cuda.Event(blocking=True)
        event.record()  # type: ignore[attr-defined]  # torch's own has it
        return event

    def wait(self, event: Event | None) -> None:
        """See `Seam`."""
        if event is not None:
            torch.cuda.current_stream().wait_event(event)

    def memory(self) -> Memory:
        """See `Seam`."""
        free, total = torch.cuda.mem_get_info(self.device)
        allocated = torch.cuda.memory_allocated(self.device)
        return Memory(float(allocated), float(torch.cuda.memory_reserved(self.device)), float(free), float(total))

    def shrink(self) -> None:
        """See `Seam`."""
        torch.cuda.synchronize(self.device)
        self._held.clear()
        gc.collect()
        torch.cuda.empty_cache()

    def settle(self) -> None:
        """See `Seam`."""
        torch.cuda.synchronize(self.device)

    def alive(self) -> bool:
        """See `Seam`. After a fault in a kernel every later call of the process fails too."""
        try:
            torch.cuda.synchronize(self.device)
        except RuntimeError:
            return False
        return True


def seam_for(device: str, threads: int) -> Seam:
    """The seam of `cpu` or `cuda:1`.

    Raises:
        UnfitError: there is no such device.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return HostSeam(threads)
    if not torch.cuda.is_available():
        raise UnfitError(f"torch {torch.__version__} finds no CUDA GPU for {device}; say --devices cpu")
    return CudaSeam(int(index or 0))
