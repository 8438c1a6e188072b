"""Who answered at the address under test: one server, or several behind a balancer. A GPU is one of a server.

Each server numbers its GPUs from 0 on. So where several answer, "GPU 0" is as many GPUs as there are servers, and
streams are counted by server and GPU. Servers say who they are in `ready`, on the upgrade and in `/snapshot`; of those
that do not, the address that `/connect` handed out stands for the server.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from whisper_ops.snapshot import Snapshot


class StreamPlacement(Protocol):
    """Where a stream was, as far as it was told."""

    @property
    def gpu_id(self) -> int | None:
        """Its server's own numbering."""

    @property
    def server_id(self) -> str | None:
        """The server process."""

    @property
    def replica(self) -> str | None:
        """Host and port that `/connect` handed out."""


class RespondingServers(msgspec.Struct, frozen=True):
    """The servers of a level, each with the number of its GPUs; None: it did not say."""

    gpus_of: Mapping[str, int | None] = {}

    @property
    def servers(self) -> int | None:
        """How many there are; None: none said who it is."""
        return len(self.gpus_of) or None

    @property
    def gpus(self) -> int | None:
        """How many GPUs they have together; None: not known of one of them."""
        counts = list(self.gpus_of.values())
        known = [count for count in counts if count is not None]
        return sum(known) if counts and len(known) == len(counts) else None


def server_of(stream: StreamPlacement) -> str | None:
    """The server that took a stream; None: not known."""
    return stream.server_id or stream.replica


def answered(streams: Iterable[tuple[StreamPlacement, int | None]], snapshots: Sequence[Snapshot]) -> RespondingServers:
    """Who answered.

    Args:
        streams: those that were admitted, with the number of GPUs that the server said it has.
        snapshots: the polls of the same time.
    """
    found: dict[str, int | None] = {}
    for stream, gpus in streams:
        if (server := server_of(stream)) is not None:
            found[server] = found.get(server) or gpus
    for snapshot in snapshots:
        if snapshot.members is not None:  # a broker takes no streams: its members do
            found |= {one.server_id: one.gpus for one in snapshot.members if one.server_id and one.state != "silent"}
        elif snapshot.server_id is not None:
            said = snapshot.figures.gpus if snapshot.figures else None
            found[snapshot.server_id] = found.get(snapshot.server_id) or said
    return RespondingServers(found)


def by_server(snapshots: Sequence[Snapshot]) -> list[list[Snapshot]]:
    """Polls of the same server together, in their order; those that do not say whose they are count as one server."""
    groups: dict[str | None, list[Snapshot]] = {}
    for snapshot in snapshots:
        groups.setdefault(snapshot.server_id, []).append(snapshot)
    return list(groups.values())


def per_gpu(streams: Iterable[StreamPlacement]) -> dict[str, int]:
    """Streams on each GPU, by its name: `GPU 0`, or with its server where there are several."""
    placed = [(server_of(stream), stream.gpu_id) for stream in streams if stream.gpu_id is not None]
    several = len({server for server, _ in placed}) > 1
    counts = Counter(placed)
    order = sorted(counts, key=lambda place: (place[0] or "", place[1]))
    return {f"{server or '?'} GPU {gpu}" if several else f"GPU {gpu}": counts[server, gpu] for server, gpu in order}


def spread(streams: Iterable[StreamPlacement], gpus: int | None = None) -> int | None:
    """Most streams on a GPU minus fewest; None where GPUs are not known.

    `gpus`: how many there are, so that those without a stream count.
    """
    counts = list(per_gpu(streams).values())
    if not counts:
        return None
    return max(counts) - (0 if gpus is not None and gpus > len(counts) else min(counts))
