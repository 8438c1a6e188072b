"""What there is of each resource on the measured server: read from its own last poll, or noted by the load test."""

import msgspec

from whisper_ops.history import History
from whisper_ops.history.poll_aggregates import last_live_poll
from whisper_ops.lenient_json import decode_strictly
from whisper_ops.plan_key import PlanKey
from whisper_ops.snapshot import HostFigures

_NEAR_SECONDS = 3600.0
"""So long after the last level a poll is still of the same server."""


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """Totals and limits of one server; None: it did not say."""

    gpu_memory_bytes: float | None = None
    host: HostFigures = HostFigures()


def read_caps(history: History, key: PlanKey, settings: str, near: float) -> Caps:
    """The caps of a key's server, from its poll nearest to the end of its levels, else from the sweep's settings."""
    noted = _noted(settings)
    snapshot = last_live_poll(history, key.server, near + _NEAR_SECONDS)
    if snapshot is None:
        return noted
    totals = [gpu.memory_total_bytes for gpu in snapshot.gpus if gpu.memory_total_bytes is not None]
    return Caps(gpu_memory_bytes=min(totals, default=noted.gpu_memory_bytes), host=snapshot.host or noted.host)


def last_host(history: History, server: str) -> HostFigures | None:
    """What a server's last poll said about its machine."""
    snapshot = last_live_poll(history, server, float("inf"))
    return None if snapshot is None else snapshot.host


def _noted(settings: str) -> Caps:
    try:
        found = decode_strictly(settings, dict)
        host = msgspec.convert(found.get("host") or {}, HostFigures)
        return Caps(gpu_memory_bytes=found.get("gpu_memory_total_bytes"), host=host)
    except (msgspec.MsgspecError, AttributeError):
        return Caps()
