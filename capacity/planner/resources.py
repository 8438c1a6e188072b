"""One law a resource: what grows with streams, what there is of it, and the connections that leaves room for."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from capacity.models.linear import LEAST_LEVELS, fit_line
from capacity.planner.batch_law import batching
from capacity.planner.caps import Caps
from capacity.planner.evidence import Evidence
from capacity.planner.law_checks import checked_law, figure
from whisper_ops.history import LevelRecord
from whisper_ops.plan.plan_document import Resource
from whisper_ops.plan.resource_kinds import (
    DESCRIPTORS,
    GPU_BUSY,
    GPU_MEMORY,
    HOST_CPU,
    HOST_MEMORY,
    SERVER_CORE,
    SETUP_TIME,
)

_GB = 1e9
_KEEP_FREE = 0.90
"""The share of a processor or of memory that a plan uses; the rest is for what was not in the test."""


class ResourceRule(msgspec.Struct, frozen=True):
    """How to read one resource from levels. `scale` turns base units into the unit that is shown."""

    kind: str
    """Of `whisper_ops.plan.resource_kinds.TITLES`."""
    figure: str
    per_gpu: bool
    """Whether the figure belongs to one GPU, and so grows with the streams on it, or to the whole server."""
    unit: str
    scale: float
    cap: Callable[[Caps], float | None]
    """The cap in base units, None when the server did not say."""
    share: float = _KEEP_FREE
    fix: str | None = None
    straight_only: bool = False
    """Whether a figure that bends down says nothing about a limit, as where batches fill up instead of time."""


RULES = (
    ResourceRule(GPU_BUSY, "server_busy_ratio", True, "%", 100.0, lambda _: 1.0, 0.95, straight_only=True),
    ResourceRule(GPU_MEMORY, "gpu_memory_used_bytes", True, "GB", 1 / _GB, lambda caps: caps.gpu_memory_bytes, 0.95),
    ResourceRule(SERVER_CORE, "front_cpu_ratio", False, "%", 100.0, lambda _: 1.0),
    ResourceRule(HOST_CPU, "host_cpu_ratio", False, "%", 100.0, lambda _: 1.0),
    ResourceRule(HOST_MEMORY, "server_rss_bytes", False, "GB", 1 / _GB, lambda caps: caps.host.memory_total_bytes),
    ResourceRule(SETUP_TIME, "ready_p50_seconds", False, "s", 1.0, lambda _: None, 1.0),
    ResourceRule(
        DESCRIPTORS,
        "server_descriptors",
        False,
        "",
        1.0,
        lambda caps: caps.host.descriptors_soft_limit,
        1.0,
        "LimitNOFILE=65536",
    ),
)


def measured(levels: Sequence[LevelRecord], rule: ResourceRule, gpus: int) -> list[tuple[float, float]]:
    """The readings of a resource as (connections a GPU, figure in the unit shown)."""
    points = []
    for level in levels:
        figure = getattr(level, rule.figure)
        if figure is None:
            continue
        load = level.streams_per_gpu if rule.per_gpu and level.streams_per_gpu else level.streams / gpus
        points.append((float(load), float(figure) * rule.scale))
    return points


def resource(evidence: Evidence, caps: Caps, rule: ResourceRule) -> Resource:
    """The law of one resource from valid levels and polls; without enough of them, what was measured and no limit."""
    gpus = evidence.key.gpus
    points = measured(evidence.counted, rule, gpus)
    valid = measured(evidence.valid, rule, gpus)
    polled = [(load, value * rule.scale) for load, value in evidence.polled.points(rule.figure)]
    usable = valid + polled
    line = fit_line([load for load, _ in usable], [value for _, value in usable])
    total = rule.cap(caps)
    cap = None if total is None else total * rule.share * rule.scale
    told = _evidence(len(valid), len(polled), evidence.polled.span)
    if line is None:
        return _unfitted(rule, points + polled, len(valid), cap)
    if rule.straight_only and (batching(evidence) or bends(usable)):
        return msgspec.structs.replace(
            _unfitted(rule, points + polled, len(valid), cap),
            law="no limit: batches fill up before time does",
            evidence=told,
        )
    row = msgspec.structs.replace(_unfitted(rule, points + polled, len(valid), cap), evidence=told, fix=rule.fix)
    return checked_law(row, line, usable, gpus, evidence.slots)


def bends(points: Sequence[tuple[float, float]]) -> bool:
    """Whether a figure surely grows slower at high loads: the slope of its parabola falls by a quarter or more."""
    if len({load for load, _ in points}) < 6:
        return False
    x, y = (np.asarray(column, float) for column in zip(*points, strict=True))
    x = x / x.max()
    terms = np.stack([np.ones_like(x), x, x**2], axis=1)
    found, _, _, _ = np.linalg.lstsq(terms, y, rcond=None)
    noise = float(((y - terms @ found) ** 2).sum()) / max(len(x) - 3, 1)
    unsure = float(np.sqrt(noise * np.linalg.inv(terms.T @ terms)[2, 2]))
    first, last = (float(found[1] + 2 * found[2] * end) for end in (x.min(), 1.0))
    return bool(found[2] < -3 * unsure and last < 0.75 * first)


def _evidence(levels: int, loads: int, span: str) -> str:
    parts = [f"{levels} levels"] if levels else []
    if loads:
        parts.append(f"{loads} loads in {span} of polls")
    return " + ".join(parts)


def _unfitted(rule: ResourceRule, points: list[tuple[float, float]], valid: int, cap: float | None) -> Resource:
    if not points:
        law, evidence = "not measured", ""
    else:
        most = max(value for _, value in points)
        law = f"≤ {figure(most, rule.unit)} up to {max(load for load, _ in points):g}; no law"
        evidence = f"{valid} of {LEAST_LEVELS} valid levels"
    return Resource(
        kind=rule.kind,
        law=law,
        unit=rule.unit,
        cap=cap,
        cap_text=_cap_text(rule, cap),
        limit=None,
        low=None,
        high=None,
        evidence=evidence,
        status="not_identifiable",
        points=tuple(points),
    )


def _cap_text(rule: ResourceRule, cap: float | None) -> str:
    if cap is None:
        return "not known"
    if rule.share < 1:
        return f"{figure(cap, rule.unit)} ({rule.share:.0%})" if rule.unit != "%" else f"{cap:.0f} %"
    return figure(cap, rule.unit)
