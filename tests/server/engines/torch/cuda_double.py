"""A stand-in for torch.cuda that keeps CUDA's rules of captures, and torch's of their memory, where there is no GPU.

Streams, events, graphs and pools are noted by name. Tensors are of the `meta` device: they have shapes, types and a
device of their own, and nothing is computed. While a graph is captured every operation is looked at: what waits for the
device, reads from it, takes data of the host, or makes a shape of values is refused as CUDA refuses it, and voids the
capture. What a capture made must be gone when it ends, as graphs of one lane share their memory; what it read must be
there at each replay.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from server.engines.torch.device_runtime import DECODE, ENCODE

CAPTURE_BEGIN = inspect.signature(torch.cuda.CUDAGraph.capture_begin)
REAL = {
    name: inspect.signature(getattr(torch.cuda, name))
    for name in ("synchronize", "mem_get_info", "memory_reserved", "memory_allocated", "set_device", "empty_cache")
}
REFUSED = "operation not permitted when stream is capturing"


class RefusedError(RuntimeError):
    """What CUDA says to it."""


class _Watched(TorchDispatchMode):  # type: ignore[misc]  # torch is optional
    """Every operation of a capture."""

    def __init__(self, graph: "_Graph") -> None:
        super().__init__()
        self.graph = graph
        self.own: dict[Any, StorageWeakRef] = {}
        """Memory that the capture made."""
        self.read: dict[Any, StorageWeakRef] = {}
        """Memory of before that it reads or writes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [each for each in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        why = self._refusal(func, given)
        if why is not None:
            self.graph.void = True
            raise RefusedError(f"CUDA error: {REFUSED} ({func}: {why})")
        for tensor in given:
            held = StorageWeakRef(tensor.untyped_storage())
            if held.cdata not in self.own:
                self.read[held.cdata] = held
        made = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(made):
            if not isinstance(tensor, torch.Tensor):
                continue
            if tensor.device.type != "meta":
                self.graph.void = True
                raise RefusedError(f"CUDA error: {REFUSED} ({func} answers on the host)")
            held = StorageWeakRef(tensor.untyped_storage())
            if held.cdata not in self.read:
                self.own[held.cdata] = held
        return made

    @staticmethod
    def _refusal(func: Any, given: list[Any]) -> str | None:
        name = func._schema.name
        if torch.Tag.data_dependent_output in func.tags:
            return "reads from the device"
        if name in ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"):
            if any(tensor.dtype in (torch.bool, torch.uint8) for tensor in given[1:]):
                return "a shape of values"
        elif torch.Tag.dynamic_output_shape in func.tags:
            return "a shape of values"
        host = [tensor for tensor in given if tensor.device.type != "meta"]
        # A number of the host goes along with most kernels' arguments, but not with all.
        plain = torch.Tag.pointwise in func.tags and name != "aten::where"
        if any(tensor.ndim or not plain for tensor in host):
            return "data of the host"
        return None


class _Graph:
    def __init__(self, cuda: "FakeCuda") -> None:
        self._cuda = cuda
        self.void = self.ended = False
        self.pool = ""

    def capture_begin(self, *args: Any, **options: Any) -> None:
        cuda = self._cuda
        CAPTURE_BEGIN.bind(self, *args, **options)
        assert options["capture_error_mode"] == "thread_local"
        assert cuda.current != "default", "CUDA graphs must be captured on a non-default stream"
        self.pool, self.stream = options["pool"], cuda.current
        assert self.pool not in cuda.recording, "beginAllocateToPool: already recording to mempool_id"
        assert cuda.users.get(self.pool, 1) > 0, "INTERNAL ASSERT FAILED: use_count > 0"
        assert cuda.streams.setdefault(self.pool, self.stream) == self.stream, "lanes run together: one pool for each"
        cuda.users[self.pool] = cuda.users.get(self.pool, 0) + 1
        cuda.recording.append(self.pool)
        cuda.capturing, self._watched = self, _Watched(self)
        cuda.calls.append(f"begin {self.stream}")
        self._watched.__enter__()

    def capture_end(self) -> None:
        cuda = self._cuda
        self._watched.__exit__(None, None, None)
        cuda.capturing = None
        cuda.calls.append("end")
        if self.void or cuda.fails:
            # The pool is left recording, as torch leaves it.
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        cuda.recording.remove(self.pool)
        self.ended = True
        escaped = [held for held in self._watched.own.values() if not held.expired()]
        if escaped:
            cuda.broken.append(f"{len(escaped)} tensors of a capture outlive it")
        self._reads = list(self._watched.read.values())

    def replay(self) -> None:
        cuda = self._cuda
        assert self.ended, "replay without a capture"
        if cuda.current != self.stream:
            cuda.broken.append(f"a graph of {self.stream} runs in {cuda.current}")
        if any(held.expired() for held in self._reads):
            cuda.broken.append("a graph reads memory that is gone")
        cuda.running.add(id(self))
        cuda.calls.append(f"replay {cuda.current}")

    def __del__(self) -> None:
        if self.ended:
            self._cuda.users[self.pool] -= 1
        if id(self) in self._cuda.running:
            self._cuda.broken.append("a graph is destroyed while it may run")


class FakeCuda:
    """See the module. `calls` are all that was done; `broken`, the rules that were broken and that CUDA won't tell."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.current = "default"
        self.fails = False
        self.free, self.total, self.allocated, self.reserved = 100e9, 140e9, 4.0, 5.0
        self.capturing: _Graph | None = None
        self.users: dict[Any, int] = {}
        self.streams: dict[Any, str] = {}
        self.recording: list[Any] = []
        self.running: set[int] = set()
        self.broken: list[str] = []
        self._pools = itertools.count()

    def graph(self) -> _Graph:
        return _Graph(self)

    def pool(self) -> str:
        return f"pool {next(self._pools)}"

    def stream(self, **options: Any) -> Any:
        return SimpleNamespace(name=DECODE if options["priority"] < 0 else ENCODE)

    @contextlib.contextmanager
    def use(self, stream: Any) -> Iterator[None]:
        before, self.current = self.current, stream.name
        try:
            yield
        finally:
            self.current = before

    def event(self, **options: Any) -> Any:
        on = self.current

        def record() -> None:
            self._not_while_capturing("record")
            self.calls.append(f"record {on}")

        def synchronize() -> None:
            self._not_while_capturing("event")
            self.calls.append("wait")

        def query() -> bool:
            self._not_while_capturing("query")
            return True

        return SimpleNamespace(record=record, synchronize=synchronize, query=query)

    def _not_while_capturing(self, what: str) -> None:
        if self.capturing is not None:
            self.capturing.void = True
            raise RefusedError(f"CUDA error: {REFUSED} ({what})")

    def noted(self, name: str, answer: Callable[[], Any], *, waits: bool = False) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            REAL[name].bind(*args, **options)
            if waits:
                self._not_while_capturing(name)
                self.running.clear()
            self.calls.append(name)
            return answer()

        return call

    def end_recording(self, index: int, pool: Any) -> None:
        self.recording.remove(pool)


class _Copies(TorchDispatchMode):  # type: ignore[misc]  # torch is optional
    """What comes back from the device is zeros: nothing is computed there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.copy_.default and args[0].device.type == "cpu" and args[1].device.type == "meta":
            return args[0].zero_()
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def copies() -> Iterator[None]:
    """Of a thread: let it read back what the device does not hold."""
    with _Copies(), torch.no_grad():
        yield


def install(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """In the place of torch.cuda, for one test."""
    made, empty = FakeCuda(), torch.empty
    for name, value in {
        "set_device": lambda index: made.calls.append(f"device {index}"),
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "graph_pool_handle": made.pool,
        "Stream": made.stream,
        "stream": made.use,
        "Event": made.event,
        "CUDAGraph": made.graph,
        "synchronize": made.noted("synchronize", lambda: None, waits=True),
        "mem_get_info": made.noted("mem_get_info", lambda: (made.free, made.total)),
        "memory_allocated": made.noted("memory_allocated", lambda: made.allocated),
        "memory_reserved": made.noted("memory_reserved", lambda: made.reserved),
        "empty_cache": made.noted("empty_cache", lambda: None, waits=True),
        "current_stream": lambda: SimpleNamespace(wait_event=lambda event: made.calls.append("lane waits")),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", made.end_recording, raising=False)
    # Under it composite operations would not be taken apart for whoever looks at them.
    monkeypatch.setattr(torch, "inference_mode", copies)

    def unpinned(*sizes: Any, pin_memory: bool = False, **options: Any) -> Any:
        if pin_memory:
            made._not_while_capturing("pinned memory")
        return empty(*sizes, **options)

    monkeypatch.setattr(torch, "empty", unpinned)
    return made
