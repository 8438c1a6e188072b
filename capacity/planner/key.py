"""The key of what was measured: of a sweep's levels, and of ordinary polls."""

from collections.abc import Sequence

from msgspec.structs import asdict

from whisper_ops.history import LevelRecord, SweepRecord
from whisper_ops.identity import Identity
from whisper_ops.plan_key import PlanKey


class UncountedError(ValueError):
    """Streams were on several servers, and on how many GPUs is not known."""

    def __init__(self, server: str, servers: int) -> None:
        super().__init__(
            f"{servers} servers answered at {server}, and how many GPUs they have is not known, so neither is what one "
            "GPU carried; sweep each server at its own address"
        )


def key_of(sweep: SweepRecord, levels: Sequence[LevelRecord] = ()) -> PlanKey:
    """The key of all levels of a sweep. Behind one address may be several servers: their GPUs are counted together.

    Raises:
        UncountedError: several servers answered, and how many GPUs they have is not known.
    """
    servers = max((level.servers or 1 for level in levels), default=1)
    gpus = sweep.gpus or max((level.gpus or 0 for level in levels), default=0) or 1
    if servers > 1:
        counts = [level.gpus for level in levels if level.servers == servers and level.gpus is not None]
        if not counts:
            raise UncountedError(sweep.server, servers)
        gpus = max(counts)
    return PlanKey(
        **asdict(sweep.identity),
        server=sweep.server,
        gpus=gpus,
        servers=servers,
        protocol=sweep.protocol,
        chunk_seconds=sweep.chunk_seconds,
        duty_cycle=sweep.duty_cycle,
        arrivals=sweep.arrivals,
        corpus=sweep.corpus,
        pause_share=sweep.pause_share,
        objective=sweep.objective,
    )


def key_of_polls(server: str, identity: Identity, gpus: int, objective: str) -> PlanKey:
    """The key of a server's ordinary production, of which it is not known how the load was played."""
    return PlanKey(
        **asdict(identity),
        server=server,
        gpus=gpus,
        protocol=None,
        chunk_seconds=None,
        duty_cycle=None,
        arrivals=None,
        corpus=None,
        objective=objective,
    )


def differences(one: PlanKey, other: PlanKey) -> str:
    """What differs between two keys, in words: `model tiny.en / base.en, chunk_seconds 0.1 / 0.5`."""
    a, b = asdict(one), asdict(other)
    return ", ".join(f"{name} {a[name]} / {b[name]}" for name in a if a[name] != b[name])
