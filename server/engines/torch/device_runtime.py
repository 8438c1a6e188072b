"""One protocol for CUDA and CPU: graphs, streams (lanes), events, pinned copies, memory.

`replay(key, fn, buffers)` runs `fn(*buffers)`. On CUDA it is captured once for each key and then replayed; on a CPU it
is called. The same rules hold for both, and the CPU checks them: the buffers of a key do not move; `fn` touches no
other memory that moves, has no other effect, and may run twice on the same input (before a capture it is run once);
all work is done in a lane, and a key always in the same one.
"""

import contextlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Tensor = Any
"""`torch.Tensor`."""
ENCODE, DECODE = "encode", "decode"
"""The lanes: work in one is in order; the two overlap."""
MOST_GRAPHS = 512
"""In the cache; a graph has about a megabyte."""


class PendingCopy(Protocol):
    """An unfinished copy from the device."""

    def get(self) -> NDArray[np.float32]:
        """Wait for it."""
        ...


class DeviceEvent(Protocol):
    """A point in a lane's order."""

    def query(self) -> bool:
        """Whether all work before it is done."""
        ...

    def synchronize(self) -> None:
        """Block until it is."""
        ...


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes: used by tensors, reserved by torch, and the device's own free and total memory."""

    allocated: float
    reserved: float
    free: float
    total: float

    @property
    def available(self) -> float:
        """What tensors could still take: free, and reserved by torch without use."""
        return self.free + self.reserved - self.allocated


class DeviceRuntime(Protocol):
    """One device, used from one thread at a time; the module says the rules."""

    device: Any
    gpu: bool
    """Whether shapes are captured, so that batches are padded to a captured size."""

    @property
    def graphs(self) -> int:
        """Captured shapes."""
        ...

    @property
    def uncaptured(self) -> int:
        """Shapes that could not be captured, and run operation by operation."""
        ...

    def bind(self) -> None:
        """Select the device for this thread; once in each thread that uses it."""
        ...

    def replay(self, key: Hashable, fn: Callable[..., None], buffers: Sequence[Tensor], lane: str = DECODE) -> None:
        """Run `fn(*buffers)` in the current lane."""
        ...

    def upload(self, target: Tensor, source: NDArray[Any]) -> None:
        """Copy host data into a tensor on the device, in the current lane."""
        ...

    def download(self, source: Tensor) -> PendingCopy:
        """Begin to copy a float32 tensor to the host, in the current lane."""
        ...

    def lane(self, name: str) -> contextlib.AbstractContextManager[None]:
        """A block whose work is done in that lane."""
        ...

    def mark(self) -> DeviceEvent:
        """An event at the current end of the current lane."""
        ...

    def wait(self, event: DeviceEvent | None) -> None:
        """Make later work of the current lane wait for the event."""
        ...

    def memory(self) -> DeviceMemory: ...

    def shrink(self) -> None:
        """Free caches and graphs."""
        ...

    def settle(self) -> None:
        """Block until all work of all lanes is done."""
        ...

    def alive(self) -> bool:
        """Whether the device still works."""
        ...


_SCARCE = "out of memory", "ALLOC_FAILED", "allocate memory"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means too little memory, of the device or the host.

    torch has a class for its own allocator; errors of CUDA and its libraries are known by their text.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SCARCE)
