"""Graphs by their shape, in order of their last use, with the buffers that each was captured on."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Held:
    places: tuple[tuple[int, tuple[int, ...]], ...]
    graph: Any


class GraphCache:
    """At most `most` graphs; the one unused for longest goes first. Keys are a lane and a shape."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[tuple[str, Hashable], _Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, lane: str, key: Hashable, buffers: Sequence[Any]) -> Any:  # noqa: ANN401  # a graph of the runtime's
        """The graph; None where there is none yet.

        Raises:
            RuntimeError: the key's buffers are not those of before; a replayed graph would use the old ones.
        """
        held = self._held.get((lane, key))
        if held is None:
            return None
        if held.places != _places(buffers):
            raise RuntimeError(f"the buffers of {key} have moved")
        self._held.move_to_end((lane, key))
        return held.graph

    def put(self, lane: str, key: Hashable, buffers: Sequence[Any], graph: Any) -> None:  # noqa: ANN401  # see get
        """Hold a graph. One that has to go for it must not be running."""
        self._held[lane, key] = _Held(_places(buffers), graph)
        if len(self._held) > self._most:
            self._held.popitem(last=False)

    def in_lane(self, lane: str) -> bool:
        """Whether any graph of a lane is held."""
        return any(each == lane for each, _ in self._held)

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()


def _places(buffers: Sequence[Any]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return tuple((buffer.data_ptr(), tuple(buffer.shape)) for buffer in buffers)
