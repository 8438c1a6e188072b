"""What only a GPU does, behind one protocol: replayed graphs, streams, events, pinned copies, memory.

`replay(key, fn, buffers)` runs `fn(*buffers)`. On CUDA it is captured once for each key and replayed after; on a CPU it
is called. Either way the same rules hold, and the CPU checks them: no buffer of a key moves, `fn` reads and writes
nothing else that may, has no other effect, and may be run again on the same input (a capture is rehearsed first);
everything is done in a lane, and a key always in the same one.
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
"""The lanes: what runs in one is in order; the two overlap."""
MOST_GRAPHS = 512
"""Graphs kept, of about a megabyte each; the one unused for longest goes first."""


class PendingCopy(Protocol):
    """A copy from the device, on its way."""

    def get(self) -> NDArray[np.float32]:
        """Wait for it."""
        ...


class DeviceEvent(Protocol):
    """A place in a lane."""

    def query(self) -> bool:
        """Whether everything before it is done."""
        ...

    def synchronize(self) -> None:
        """Wait until it is."""
        ...


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes of the device: what tensors take, what torch holds for them, and the device's own."""

    allocated: float
    reserved: float
    free: float
    total: float

    @property
    def available(self) -> float:
        """What tensors could still take: what torch holds without a use is as good as free."""
        return self.free + self.reserved - self.allocated


class DeviceRuntime(Protocol):
    """One device, used from one thread at a time; the module says the rules."""

    device: Any
    gpu: bool
    """Whether shapes are captured, so that a batch is filled up to one that is there."""

    @property
    def graphs(self) -> int:
        """How many shapes are held ready."""
        ...

    @property
    def uncaptured(self) -> int:
        """How many shapes could not be captured, and run operation by operation."""
        ...

    def bind(self) -> None:
        """Make the device this thread's own: once in each thread that uses it."""
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
        """What is done in the block is done in that lane."""
        ...

    def mark(self) -> DeviceEvent:
        """The present end of the current lane."""
        ...

    def wait(self, event: DeviceEvent | None) -> None:
        """Let what follows in the current lane begin after the event."""
        ...

    def memory(self) -> DeviceMemory:
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


_SCARCE = "out of memory", "ALLOC_FAILED", "allocate memory"


def out_of_memory(error: BaseException) -> bool:
    """Whether it is the device's memory, or the host's, that there is too little of.

    torch's own class is for its allocator; CUDA and its libraries say it in words.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SCARCE)
