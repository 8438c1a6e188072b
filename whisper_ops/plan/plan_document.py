"""A plan: what the planner writes, the history keeps, `plan --json` prints, and every screen and report reads.

The types are that JSON, so a field here is a promise there: fields may be added, and none may change its meaning.
What earlier versions did not say has its default. What is decided by (which resource binds, how a level went) are kinds
and figures; texts are for people, and nothing reads them back.
"""

from itertools import pairwise
from typing import Literal, TypeAlias

import msgspec

from whisper_ops.identity import Identity
from whisper_ops.objective.findings import AnyFinding
from whisper_ops.plan.resource_kinds import KINDS_BY_TITLE, ON_A_PROCESSOR, TITLES
from whisper_ops.plan_key import PlanKey

Status: TypeAlias = Literal["identified", "lower_bound", "upper_bound", "not_identifiable"]
"""How well a limit is known: between two levels; only from below; only from above; not at all."""


class JudgedLevel(msgspec.Struct, frozen=True, kw_only=True):
    """One level as the plan judged it, over all its repeats."""

    streams: int
    streams_per_gpu: float = 0.0
    repeats: int = 0
    passes: int = 0
    audit: str = ""
    """The best audit among the repeats that count."""
    left_out: int = 0
    """Repeats that were invalid, and so say nothing."""
    stable_p95_seconds: float | None = None
    reason: str = ""
    findings: tuple[AnyFinding, ...] = ()
    """The reason as data; empty where an older version measured the level."""
    achieved_concurrency: float = 0.0
    duration_seconds: float = 0.0
    chance: float | None = None
    """That it passes when it is run again, 0 to 1; None: nothing counts, or an older version did not say."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that meet the objective on one GPU: from the last level that passed to the first that failed."""

    last_pass: int | None = None
    first_fail: int | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    status: Status = "not_identifiable"
    reason: str = ""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One resource that can run out: its law, its cap and the connections per GPU that it allows."""

    kind: str = ""
    """Of `TITLES`; empty: another version's, which this one does not know."""
    name: str = ""
    """What people call it."""
    law: str = ""
    """The law in words, or why there is none."""
    unit: str = ""
    """Of its figures: `s`, `%`, `GB` or nothing for things that are counted."""
    cap: float | None = None
    cap_text: str = ""
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: str = ""
    status: Status = "not_identifiable"
    fix: str | None = None
    """The line of configuration that lifts it."""
    points: tuple[tuple[float, float], ...] = ()
    """(connections a GPU, figure) as measured."""
    curve: tuple[tuple[float, float], ...] = ()
    """(connections a GPU, figure) as the law says."""

    def __post_init__(self) -> None:
        """Whichever of kind and name was given says the other."""
        _set(self, "kind", self.kind or KINDS_BY_TITLE.get(self.name, ""))
        _set(self, "name", self.name or TITLES.get(self.kind, self.kind))

    def expected(self, load: float) -> float | None:
        """What the law expects at a load, between the points of its curve; None beyond them."""
        for (x0, y0), (x1, y1) in pairwise(self.curve):
            if x0 <= load <= x1:
                return y0 + (y1 - y0) * ((load - x0) / (x1 - x0) if x1 > x0 else 0)
        return None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """One of the four ways to run (conservative to extreme): a share of the limit, and what to expect there."""

    name: str
    connections: int
    cut: str = ""
    """How it was cut."""
    stability: str = ""
    expected: dict[str, float] = {}
    """Figures that the laws expect at that load, by the resources' names; a figure without a law is left out."""


class QueueCauses(msgspec.Struct, frozen=True):
    """What the streams of the first level that failed were waiting for."""

    kind: str
    """Of `TITLES`."""
    share: float
    """Of its time, 0 to 1."""


class PlannedFleet(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest fleet that carries a demand: GPUs, machines, blocking and cost."""

    calls: int
    """Calls that must fit at once."""
    per_gpu: int
    gpus: int
    machines: int
    spare_machines: int
    slots: int
    """Calls that fit with every machine up."""
    slots_after_loss: int
    offered: float | None = None
    """Erlangs."""
    most_blocking: float | None = None
    """The share of calls that may be refused, where `calls` follows from it and from the erlangs."""
    blocking: float | None = None
    """Share of calls refused with every machine up."""
    blocking_after_loss: float | None = None
    price_per_hour: float | None = None
    price_per_audio_hour: float | None = None
    """At the load that is asked for, each call counted for the time it is connected."""
    currency: str | None = None


class DemandTrend(msgspec.Struct, frozen=True, kw_only=True):
    """Daily peaks of live connections, how fast they grow, and when they meet the limit."""

    days: int
    peak: float
    """The highest day so far."""
    per_day: float
    """Connections a day."""
    limit: float
    until: float | None = None
    """Days from the last one until the limit; None when the peaks do not grow, or not within ten years."""
    low: float | None = None
    high: float | None = None
    """Ends of the 80 % interval; `high` is None when the growth may be none at all."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document: the limit per GPU, its reason, its evidence, and how well it is known."""

    created_at: float = 0.0
    server: str = ""
    key: PlanKey = PlanKey()
    objective: str = ""
    simulated: bool = False
    provisional: bool = False
    max_connections_per_gpu: int | None = None
    safe_limit: int | None = None
    """What the recommendation is cut from: the lowest limit."""
    cut: str = ""
    """How the recommendation was cut from the limit."""
    reason: str = ""
    waits_for: QueueCauses | None = None
    """What was busy where the objective was missed first; None: nothing that was measured."""
    sure: str = ""
    """How sure that was when the plan was made; `plan_sentences.confidence` says how sure it is now."""
    next_test: str = ""
    """What to measure next, with the command to paste where there is one."""
    next_step: str = ""
    """The same without the command."""
    next_command: str = ""
    """The command alone; empty: there is none to paste, or an older version did not say."""
    next_levels: tuple[int, ...] = ()
    """The levels of `next_test`, in streams on the whole server; empty: no level says more, or an older version."""
    next_seconds: float | None = None
    """How long each of them is to last."""
    binding_kind: str = ""
    """Of `TITLES`; empty: none, or one that this version does not know."""
    binding_resource: str | None = None
    runner_up_kind: str = ""
    runner_up: str | None = None
    capacity: Capacity = Capacity()
    resources: tuple[Resource, ...] = ()
    tiers: tuple[Tier, ...] = ()
    levels: tuple[JudgedLevel, ...] = ()
    newest_evidence_at: float | None = None
    other_keys: tuple[str, ...] = ()
    """What else was measured and left out, since laws of different keys are never mixed."""
    notes: tuple[str, ...] = ()
    fleet: PlannedFleet | None = None
    """The fleet that was asked for."""
    trend: DemandTrend | None = None
    """Where daily peaks are going; None with fewer days than a trend needs."""
    transferred_from: str | None = None
    """The GPU that was measured, where this plan is for another one; None: this one was."""
    polled_peak: float = 0.0
    """The most connections on one GPU that ordinary polls ever saw."""
    polled_seconds: float = 0.0
    """How long those polls lasted."""

    def __post_init__(self) -> None:
        """Whichever of kind and name was given says the other."""
        for kind, name in (("binding_kind", "binding_resource"), ("runner_up_kind", "runner_up")):
            given: str = getattr(self, kind)
            _set(self, kind, given or KINDS_BY_TITLE.get(getattr(self, name) or "", ""))
            _set(self, name, getattr(self, name) or TITLES.get(getattr(self, kind)))

    @property
    def identity(self) -> Identity:
        """What ran: a server finds its plan by it."""
        return self.key.identity

    def resource(self, kind: str) -> Resource | None:
        """The resource of a kind; None where the plan has none."""
        return next((resource for resource in self.resources if kind and resource.kind == kind), None)

    @property
    def binds(self) -> Resource | None:
        return self.resource(self.binding_kind)

    @property
    def next_to_bind(self) -> Resource | None:
        return self.resource(self.runner_up_kind)


def titled(resource: Resource, key: PlanKey) -> Resource:
    """The resource with a name that fits what carries the connections."""
    name = None if key.carrier == "GPU" else ON_A_PROCESSOR.get(resource.kind)
    return resource if name is None else msgspec.structs.replace(resource, name=name)


def _set(struct: msgspec.Struct, field: str, value: object) -> None:
    msgspec.structs.force_setattr(struct, field, value)
