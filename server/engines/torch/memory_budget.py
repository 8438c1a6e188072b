"""The memory that the engine will use, computed before it is allocated; and the number of slots that fit."""

from dataclasses import dataclass

from server.engines.engine import UnfitError
from server.engines.torch.decoder_slots import slot_size, staging_size
from server.engines.torch.features import Features
from server.engines.torch.shapes import AUDIO_POSITIONS, Shape
from whisper_ops.formatting import size

_RESERVE = 0.05
"""Share of the device left to its driver and everything uncounted."""
_GRAPH, _LIBRARIES = 1e6, 0.2e9
"""Bytes of a graph, and of CUDA's libraries: a cuBLAS workspace for each lane and thread."""
_ACTIVATIONS = 2 * 14
"""Tensors of an encoder layer's input size alive at once, with its four times wider hidden layer; twice, as the
capture and the run before it each have theirs."""


@dataclass(frozen=True)
class MemoryBudget:
    """In bytes."""

    weights: float
    slot: float
    buffers: float
    """Cached features, staging buffers and activations; graphs take their working memory here."""
    slots: int
    free: float

    @property
    def total(self) -> float:
        return self.weights + self.slot * self.slots + self.buffers

    def __str__(self) -> str:
        return (
            f"{size(self.weights)} of weights, {self.slots} slots of {self.slot / 1e6:.1f} MB, "
            f"{size(self.buffers)} of buffers and graphs: {size(self.total)} of {size(self.free)} free"
        )


def plan(
    shape: Shape, weights: float, itemsize: int, rows: int, streams: int, free: float, device: str, graphs: int = 0
) -> MemoryBudget:
    """Plan the memory: three slots for each row of a batch, as far as they fit.

    Args:
        shape: the model's.
        weights: their bytes.
        itemsize: bytes a number.
        rows: the most in a batch.
        streams: windows whose frames are cached.
        free: bytes that the device has for the engine, the weights included.
        device: its name.
        graphs: how many may be held; none on a CPU.

    Raises:
        UnfitError: not even one batch fits; the message is a sentence for the user.
    """
    slot = slot_size(shape, itemsize)

    def fits(batch: int) -> tuple[float, int]:
        """Bytes of buffers, and slots that fit beside them, at a batch size."""
        activations = batch * AUDIO_POSITIONS * shape.width * _ACTIVATIONS * itemsize
        logits = 2 * 3 * batch * shape.vocabulary * 4
        held = staging_size(shape, batch, itemsize) + Features.size(shape.mels, streams)
        captured = graphs * _GRAPH + _LIBRARIES if graphs else 0.0
        buffers = held + activations + logits + captured
        room = free * (1 - _RESERVE) - weights - buffers - slot
        return buffers, min(3 * batch, int(room // slot))

    buffers, slots = fits(rows)
    if slots < rows:
        need = (weights + buffers + slot * (rows + 1)) / (1 - _RESERVE)
        smaller = next((batch for batch in range(rows - 1, 0, -1) if fits(batch)[1] >= batch), None)
        way = f"give --max-batch {smaller}, or" if smaller else "give a smaller model or --compute-type, or"
        raise UnfitError(
            f"the model does not fit: batches of {rows} need {size(need)} and {device} has {size(free)} free; "
            f"{way} end other programs on the device"
        )
    return MemoryBudget(weights, slot, buffers, slots, free)
