"""Which fitted line may be shown as a law: one that readings, caps and levels that passed do not contradict.

A line through readings can say what cannot be: memory that falls below nothing, a processor over 100 %, a limit of a
thing that is over its cap with nothing connected, or a limit below a load that was carried. Each kind is settled here.
"""

import math
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from capacity.models.linear import LinearLaw
from whisper_ops.plan.plan_document import Resource
from whisper_ops.plan.plan_sentences import connections
from whisper_ops.plan.resource_kinds import CONNECTION_TRACKING, DESCRIPTORS, GPU_MEMORY, HOST_MEMORY, PORTS

FILLS_UP = (GPU_MEMORY, HOST_MEMORY, DESCRIPTORS, CONNECTION_TRACKING, PORTS)
"""Resources that refuse connections when they are full, however well a level passed just before."""

Points = Sequence[tuple[float, float]]

_FAR = 10.0
"""Times the most connections seen: what stays under its cap up to there does not grow, as far as a plan goes."""
_OFF_SHARE, _OFF_SCALE = 0.3, 0.12
"""A reading is off the law by more than this share of itself, and of the largest reading."""
_MOST_OFF = 0.2
"""Of all readings; more of them, and the readings follow no line."""
_MOST_CONNECTIONS = 1e6
_STEPS = 20
_BEYOND = 1.05
"""A law is drawn so far, times its limit."""
_NEGLIGIBLE = 0.01
"""A base under this share of what a connection takes is left out of the law's text."""
_NEAR = 0.9
"""Readings from this share of a level's load on are readings at that level."""


def checked_law(row: Resource, line: LinearLaw, readings: Points, gpus: int, slots: int | None) -> Resource:
    """A resource with the law that may be shown of the line through its readings, and with the limit by it.

    Args:
        row: the resource without a law, with all readings as its points.
        line: fitted to `readings`.
        readings: those of them that may enter a law.
        gpus: of all servers that answered at the address.
        slots: the most streams that the server takes at once; None: not known.
    """
    least, most = min(load for load, _ in readings), max(load for load, _ in readings)
    if not line.grows:
        return _flat(row, line, readings, gpus, slots)
    reached = None if row.cap is None else line.reaches(row.cap)
    limit, low, high = reached if reached is not None else (None, None, None)
    if _contradicted(row.points, line.at, least, max((limit or 0) * _BEYOND, most)):
        return _without_law(row)
    if row.cap is not None and line.at(least) >= row.cap:
        # Whatever it was that filled it, it was not the connections.
        law = f"{figure(line.at(least), row.unit)} at {least:g} already, so this cap is no limit"
        return msgspec.structs.replace(row, law=law, curve=_curve(row, line, least, most))
    if limit is not None and limit > _MOST_CONNECTIONS:
        return _flat(row, line, readings, gpus, slots)
    return msgspec.structs.replace(
        row,
        law=law_text(line, row.unit),
        limit=limit,
        low=low,
        high=high,
        status="not_identifiable" if limit is None else "identified",
        curve=_curve(row, line, least, max((limit or 0) * _BEYOND, most)),
    )


def bounded_by_pass(row: Resource, last_pass: int | None) -> Resource:
    """A level that passed is a lower bound of every resource at its load, whatever a law foresees from elsewhere."""
    if row.limit is None or last_pass is None or _full_at_pass(row, last_pass):
        return row
    if math.floor(row.limit) >= last_pass:
        low = None if row.low is None else max(row.low, float(last_pass))
        return msgspec.structs.replace(row, low=low)
    return msgspec.structs.replace(
        row,
        law=f"{row.law}: {row.cap_text} at {connections(row.limit)}, and {connections(last_pass)} passed",
        limit=float(last_pass),
        low=float(last_pass),
        high=None,
        status="lower_bound",
    )


def bounded_by_polls(row: Resource, peak: float) -> Resource:
    """What fills up for good was not full at a load that ordinary polls saw, whatever the low end of its law says."""
    if row.kind not in FILLS_UP or row.limit is None or row.low is None:
        return row
    return msgspec.structs.replace(row, low=max(row.low, min(peak, row.limit)))


def _full_at_pass(row: Resource, last_pass: int) -> bool:
    """Whether a resource that refuses when full, such as memory, was surely over its cap while a level passed.

    Its whole interval must say so, and a reading at that load: polls near idle only guess at it.
    """
    most = row.limit if row.high is None else row.high
    if row.kind not in FILLS_UP or most is None or most >= last_pass:
        return False
    return row.cap is None or any(load >= _NEAR * last_pass and value > row.cap for load, value in row.points)


def _flat(row: Resource, line: LinearLaw, readings: Points, gpus: int, slots: int | None) -> Resource:
    """What cannot be told from a figure that stays where it is; or may yet meet its cap, for all that is known."""
    least, most = min(load for load, _ in readings), max(load for load, _ in readings)
    far = _FAR * most
    if row.cap is not None and not line.grows and line.at(far) + line.spread(far) > row.cap:
        streams = round(2 * max(1.0, most) * gpus)
        room = slots is None or most * gpus < slots
        to_do = f"; sweep up to {streams if slots is None else min(streams, slots)} streams" if room else ""
        return msgspec.structs.replace(row, law=f"not known yet{to_do}")
    middle = median(value for _, value in row.points)
    if _contradicted(row.points, lambda _: middle, least, most):
        return _without_law(row)
    curve = ((least, middle), (max(most, least), middle))
    return msgspec.structs.replace(row, law="does not grow with connections", curve=curve)


def _without_law(row: Resource) -> Resource:
    return msgspec.structs.replace(row, law="no law: its readings follow no line")


def _contradicted(readings: Points, law: Callable[[float], float], least: float, most: float) -> bool:
    """Whether readings follow a law nowhere, or not where it speaks."""
    within = [(load, value) for load, value in readings if least <= load <= most]
    return _scattered(readings, law) or _scattered(within, law)


def _scattered(readings: Points, law: Callable[[float], float]) -> bool:
    scale = max((abs(value) for _, value in readings), default=0.0)
    off = sum(abs(law(load) - value) > max(_OFF_SHARE * abs(value), _OFF_SCALE * scale) for load, value in readings)
    return off > max(1, _MOST_OFF * len(readings))


def _curve(row: Resource, line: LinearLaw, least: float, most: float) -> tuple[tuple[float, float], ...]:
    """The law over the loads that were read, and on to its limit; never below nothing or over all there is."""
    top = 100.0 if row.unit == "%" else math.inf
    loads = [least + (most - least) * step / _STEPS for step in range(_STEPS + 1)]
    return tuple((load, min(max(line.at(load), 0.0), top)) for load in loads)


def law_text(line: LinearLaw, unit: str) -> str:
    """`12.4 GB + 0.168 GB a connection`."""
    if line.base < -_NEGLIGIBLE * line.slope:
        return f"{figure(line.slope, unit)} a connection, less {figure(-line.base, unit)}"
    if line.base < _NEGLIGIBLE * line.slope:
        return f"{figure(line.slope, unit)} a connection"
    return f"{figure(line.base, unit)} + {figure(line.slope, unit)} a connection"


def figure(value: float, unit: str) -> str:
    """A figure with three significant digits and its unit."""
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{text} {unit}".rstrip()
