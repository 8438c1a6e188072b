"""What a plan is made of. The types are the JSON of `plan --json`: a field here is a promise there."""

from typing import Literal

import msgspec

from capacity.fleet.size import Fleet
from capacity.fleet.trend import Trend
from capacity.plan.key import Key
from whisper_ops.objective.findings import AnyFinding

Status = Literal["identified", "lower_bound", "upper_bound", "not_identifiable"]
"""How well a limit is known: between two levels; only from below; only from above; not at all."""


def carried(streams: int, gpus: int) -> int:
    """Connections that a level shows one GPU to carry: an even share, rounded down, and one where it is less."""
    return max(streams // gpus, 1)


class LevelSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One level as the plan judged it, over all its repeats."""

    streams: int
    streams_per_gpu: float
    repeats: int
    passes: int
    audit: str
    """The best audit among the repeats that count."""
    left_out: int
    """Repeats that were invalid, and so say nothing."""
    stable_p95_seconds: float | None
    reason: str
    findings: tuple[AnyFinding, ...] = ()
    """The reason as data; empty where an older version measured the level."""
    achieved_concurrency: float
    duration_seconds: float


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Connections on one GPU within the objective: between the last level that passed and the first that failed."""

    last_pass: int | None
    first_fail: int | None
    estimate: float | None
    low: float | None
    high: float | None
    status: Status
    reason: str


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can run out: its law, its cap and the connections a GPU it allows."""

    name: str
    law: str
    """The law in words, or why there is none."""
    unit: str
    cap: float | None
    cap_text: str
    limit: float | None
    low: float | None
    high: float | None
    evidence: str
    status: Status
    fix: str | None = None
    """The line of configuration that lifts it."""
    points: tuple[tuple[float, float], ...] = ()
    """(connections a GPU, figure) as measured."""
    curve: tuple[tuple[float, float], ...] = ()
    """(connections a GPU, figure) as the law says."""


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A way to run, in the words operators use."""

    name: str
    connections: int
    cut: str
    """How it was cut."""
    stability: str
    expected: dict[str, float]
    """Figures that the laws expect at that load; a figure without a law is left out."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, its reason, and how sure it is."""

    created_at: float
    server: str
    key: Key
    objective: str
    simulated: bool
    provisional: bool
    max_connections_per_gpu: int | None
    cut: str
    """How the recommendation was cut from the limit."""
    reason: str
    sure: str
    next_test: str
    binding_resource: str | None
    runner_up: str | None
    capacity: Capacity
    resources: tuple[Resource, ...]
    tiers: tuple[Tier, ...]
    levels: tuple[LevelSeen, ...]
    newest_evidence_at: float
    other_keys: tuple[str, ...] = ()
    """What else was measured and left out, since laws of different keys are never mixed."""
    notes: tuple[str, ...] = ()
    fleet: Fleet | None = None
    """The fleet that was asked for."""
    trend: Trend | None = None
    """Where daily peaks are going; None with fewer days than a trend needs."""
    transferred_from: str | None = None
    """The GPU that was measured, where this plan is for another one; None: this one was."""
    polled_peak: float = 0.0
    """The most connections on one GPU that ordinary polls ever saw."""
