"""A member's answers, decoded and checked: a member with wrong figures spoils the fleet's figures, and no more."""

from collections.abc import Iterator

import msgspec

from whisper_ops import wire
from whisper_ops.addresses import parsed
from whisper_ops.histogram import BUCKETS
from whisper_ops.lenient_json import NotJsonError, OtherShapeError, decode
from whisper_ops.plausible_ranges import WHOLE

_MOST_SLOTS = 100_000 * wire.MAX_GPUS
_MOST_REASONS = 64


class UnreadableMemberError(ValueError):
    """A member's answer cannot be used; the message follows its name in a sentence."""


def read_snapshot(body: bytes) -> wire.ServerSnapshot:
    """A member's `/snapshot`.

    Raises:
        UnreadableMemberError: it is no snapshot, has impossible figures, or is a broker's.
    """
    try:
        snapshot, _ = decode(body, wire.ServerSnapshot)
    except (NotJsonError, OtherShapeError) as error:
        raise UnreadableMemberError(f"sent no snapshot of a whisper-ops server: {str(error)[:200]}") from error
    if snapshot.members is not None:
        raise UnreadableMemberError("is a broker itself; name the servers, not another broker")
    wrong = next((name for name, value, most in _counts(snapshot) if not 0 <= value <= most), None)
    if wrong is not None:
        raise UnreadableMemberError(f"reports an impossible {wrong}")
    return snapshot


def _counts(snapshot: wire.ServerSnapshot) -> Iterator[tuple[str, float, float]]:
    capacity = snapshot.health.capacity
    yield "total_slots", capacity.total_slots, _MOST_SLOTS
    yield "used_slots", capacity.used_slots, _MOST_SLOTS
    yield "available_slots", capacity.available_slots, capacity.total_slots
    for name in msgspec.structs.asdict(snapshot.performance):
        value = getattr(snapshot.performance, name)
        if isinstance(value, int):
            yield name, value, WHOLE
        elif isinstance(value, dict):
            yield name, len(value), _MOST_REASONS
            yield from ((name, count, WHOLE) for count in value.values())
    yield from _whole_numbers(snapshot.performance.latency)
    for gpu in snapshot.gpu_status.gpus:
        yield "gpu_id", gpu.gpu_id, 2**31
        yield "active_connections", gpu.active_connections, _MOST_SLOTS
        yield from _whole_numbers(gpu)


def _whole_numbers(part: wire.Wire) -> Iterator[tuple[str, float, float]]:
    """Integers and bucket counts, of which there are all or none."""
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, int):
            yield name, value, WHOLE
        elif name.endswith("_bucket_counts"):
            yield name, len(value) % BUCKETS, 0
            yield from ((name, count, WHOLE) for count in value)


def read_connect(body: bytes) -> wire.Connect:
    """A member's answer to `/connect`.

    Raises:
        UnreadableMemberError: it has no WebSocket address.
    """
    try:
        answer = msgspec.json.decode(body, type=wire.Connect)
        parsed(answer.ws_url, ("ws", "wss"))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UnreadableMemberError(f"answered /connect without a usable address: {str(error)[:200]}") from error
    return answer
