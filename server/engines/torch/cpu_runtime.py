"""`DeviceRuntime` on a CPU: nothing overlaps, and what would break on a GPU raises RuntimeError here."""

import contextlib
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from server.engines.torch.device_runtime import DECODE, MOST_GRAPHS, DeviceEvent, DeviceMemory, PendingCopy, Tensor
from server.engines.torch.graph_cache import GraphCache


class _FinishedCopy:
    def __init__(self, data: NDArray[np.float32]) -> None:
        self._data = data

    def get(self) -> NDArray[np.float32]:
        return self._data


class _PastEvent:
    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass


class CpuRuntime:
    """A `DeviceRuntime` whose graphs are stored calls, so that the rules of captures are checked without a GPU."""

    gpu, uncaptured = False, 0

    def __init__(self, threads: int = 1, most_graphs: int = MOST_GRAPHS) -> None:
        torch.set_num_threads(threads)
        self.device = torch.device("cpu")
        self._graphs = GraphCache(most_graphs)
        self._lane: str | None = None

    @property
    def graphs(self) -> int:
        return len(self._graphs)

    def bind(self) -> None:
        pass

    def replay(self, key: Hashable, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str = DECODE) -> None:
        self._require_lane(lane)
        graph = self._graphs.get(lane, key, buffers)
        if graph is None:
            # Like a graph: later calls run this function on these buffers, whatever they pass.
            graph = partial(fn, *buffers)
            # Like the run before a capture: shows functions that must not run twice.
            graph()
            self._graphs.put(lane, key, buffers, graph)
        graph()

    def _require_lane(self, lane: str | None = None) -> None:
        """RuntimeError outside of a lane, or in another one: on a GPU the work would be in the wrong stream."""
        if self._lane is None or lane not in (None, self._lane):
            raise RuntimeError(f"this is done in the lane {self._lane} and belongs into {lane or 'one'}")

    def upload(self, target: Tensor, source: NDArray[Any]) -> None:
        self._require_lane()
        target.copy_(torch.from_numpy(source))

    def download(self, source: Tensor) -> PendingCopy:
        self._require_lane()
        return _FinishedCopy(source.clone().numpy())

    @contextlib.contextmanager
    def lane(self, name: str) -> Iterator[None]:
        before, self._lane = self._lane, name
        try:
            yield
        finally:
            self._lane = before

    def mark(self) -> DeviceEvent:
        self._require_lane()
        return _PastEvent()

    def wait(self, event: DeviceEvent | None) -> None:  # noqa: ARG002  # it is past
        self._require_lane()

    def memory(self) -> DeviceMemory:
        try:
            import psutil  # noqa: PLC0415  # not on a machine with nothing but torch
        except ModuleNotFoundError:
            page = os.sysconf("SC_PAGE_SIZE")
            return DeviceMemory(
                0.0, 0.0, *(float(page * os.sysconf(f"SC_{what}_PAGES")) for what in ("AVPHYS", "PHYS"))
            )
        from whisper_ops.telemetry import host  # noqa: PLC0415  # needs psutil

        here, own = host.memory(), float(psutil.Process().memory_info().rss)
        return DeviceMemory(own, own, float(here.available), float(here.total))

    def shrink(self) -> None:
        self._graphs.clear()

    def settle(self) -> None:
        pass

    def alive(self) -> bool:
        return True
