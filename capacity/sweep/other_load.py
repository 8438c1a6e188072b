"""How busy other programs keep the server's machine while a level runs: what neither the server nor we used of it."""

import socket
import time
from collections.abc import Sequence

from capacity.load.orders import Finished
from whisper_ops.snapshot import HostFigures, Snapshot

MOST_SHARE = 0.20
"""Of a machine's processor time. Beyond it a level says as much about the other programs as about the server."""


class OwnCost:
    """What this process uses from its making on, in cores; its generators report theirs themselves."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), time.process_time()

    def cores(self) -> float:
        """Mean so far."""
        return (time.process_time() - self._used) / max(time.monotonic() - self._began, 1e-3)


def generator_cores(parts: Sequence[Finished]) -> float:
    """What all generator processes used together, in cores."""
    return sum(part.cpu_seconds / part.wall_seconds for part in parts if part.wall_seconds > 0)


def other_share(snapshots: Sequence[Snapshot], own_cores: float) -> float | None:
    """The share of the machine's processor time that other programs took, 0 to 1; None where the server does not say.

    Args:
        snapshots: the server's answers meanwhile.
        own_cores: what the load test itself used, which counts where it runs on the server's machine.
    """
    known = [share for s in snapshots if s.host is not None and (share := _other(s.host, own_cores)) is not None]
    return max(0.0, sum(known) / len(known)) if known else None


def _other(host: HostFigures, own_cores: float) -> float | None:
    if host.cpu_ratio is None or host.process_cpu_ratio is None or not host.cpu_count:
        return None
    ours = own_cores if host.hostname == socket.gethostname() else 0.0
    return host.cpu_ratio - (host.process_cpu_ratio + ours) / host.cpu_count
