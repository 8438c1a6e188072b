"""What there is of each resource on the measured server: read from its own last poll, or noted by the load test."""

from typing import Any

import msgspec

from capacity.plan.key import Key
from whisper_ops.history import History
from whisper_ops.names import plain
from whisper_ops.snapshot import HostFigures, Snapshot

_NEAR_SECONDS = 3600.0


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """Totals and limits of one server; None: it did not say."""

    gpu_memory_bytes: float | None = None
    host: HostFigures = HostFigures()


def read_caps(history: History, key: Key, settings: str, near: float) -> Caps:
    """The caps of a key's server, from its poll nearest to the end of its levels, else from the sweep's settings."""
    noted = _noted(settings)
    snapshot = _last_snapshot(history, key.server, near)
    if snapshot is None:
        return noted
    totals = [gpu.memory_total_bytes for gpu in snapshot.gpus if gpu.memory_total_bytes is not None]
    return Caps(gpu_memory_bytes=min(totals, default=noted.gpu_memory_bytes), host=snapshot.host or noted.host)


def _last_snapshot(history: History, server: str, near: float) -> Snapshot | None:
    """The last live poll up to a while after `near`; None when the server was never polled."""
    for name in history.servers():
        if plain(name) != plain(server):
            continue
        found = history.rows(
            "SELECT at FROM server_sample WHERE server_id = (SELECT id FROM server WHERE name = ?) AND at < ? "
            "AND error IS NULL ORDER BY at DESC LIMIT 1",
            [name, near + _NEAR_SECONDS],
        )
        for row in found:
            return next(history.snapshots(name, row["at"], row["at"] + 1e-3), None)
    return None


def last_host(history: History, server: str) -> HostFigures | None:
    """What a server's last poll said about its machine."""
    snapshot = _last_snapshot(history, server, float("inf"))
    return None if snapshot is None else snapshot.host


def _noted(settings: str) -> Caps:
    try:
        found: Any = msgspec.json.decode(settings)
        host = msgspec.convert(found.get("host") or {}, HostFigures)
        return Caps(gpu_memory_bytes=found.get("gpu_memory_total_bytes"), host=host)
    except (msgspec.MsgspecError, AttributeError):
        return Caps()
