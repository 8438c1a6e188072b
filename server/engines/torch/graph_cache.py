"""A least-recently-used cache of captured graphs, with the buffers that each was captured on."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _CachedGraph:
    places: tuple[tuple[int, tuple[int, ...]], ...]
    graph: Any


class GraphCache:
    """At most `most` graphs, by lane and shape."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._cached: OrderedDict[tuple[str, Hashable], _CachedGraph] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cached)

    def get(self, lane: str, key: Hashable, buffers: Sequence[Any]) -> Any:  # noqa: ANN401  # a graph of the runtime's
        """The graph, or None.

        Raises:
            RuntimeError: the key's buffers have moved, and the graph would use the old ones.
        """
        cached = self._cached.get((lane, key))
        if cached is None:
            return None
        if cached.places != _places(buffers):
            raise RuntimeError(f"the buffers of {key} have moved")
        self._cached.move_to_end((lane, key))
        return cached.graph

    def put(self, lane: str, key: Hashable, buffers: Sequence[Any], graph: Any) -> None:  # noqa: ANN401  # see get
        """Add a graph. The one that it replaces must not be running."""
        self._cached[lane, key] = _CachedGraph(_places(buffers), graph)
        if len(self._cached) > self._most:
            self._cached.popitem(last=False)

    def in_lane(self, lane: str) -> bool:
        """Whether any graph of a lane is cached."""
        return any(each == lane for each, _ in self._cached)

    def clear(self) -> None:
        self._cached.clear()


def _places(buffers: Sequence[Any]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return tuple((buffer.data_ptr(), tuple(buffer.shape)) for buffer in buffers)
