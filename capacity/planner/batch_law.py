"""The batch law: a step of B rows takes `T(B) = a + b·B`, so a GPU that is always in a step serves `B / T(B)` rows/s.

A batching server first fills its batches and only then falls behind: when they are full, every stream waits for one
round of all streams, N · T(m) / m. That is the lag it will have, and the load at which it reaches the objective is the
limit. Where the host is slow this is optimistic, by up to four times in published data, so other laws may bind before.
"""

from collections.abc import Sequence

import msgspec

from capacity.models.linear import LinearLaw, fit_line
from capacity.planner.evidence import Evidence
from whisper_ops.plan.plan_document import Resource
from whisper_ops.plan.resource_kinds import STEP_TIME

_SEEN_SHARE = 0.25
"""Steps of at least this share of the largest batch must have been seen."""
_CERTAIN = 0.10
"""The least half width of the limit, as a share of it: rounds are not all alike."""


def step_resource(evidence: Evidence, bound: float | None) -> Resource | None:
    """The limit by the batch law; None without a batch cap, or without readings of both fill and step time."""
    most = evidence.key.max_batch
    points = _points(evidence)
    if most is None or most < 2 or not points:
        return None
    line = _law(points)
    full = max(fill for fill, _ in points)
    base = Resource(
        kind=STEP_TIME,
        law="" if line is None else f"{line.base * 1e3:.1f} + {line.slope * 1e3:.2f} ms a row, batches of {most}",
        unit="s",
        cap=bound,
        cap_text="as the objective says" if bound is None else f"a round of {bound:g} s",
        limit=None,
        low=None,
        high=None,
        evidence=f"steps of up to {full:.1f} rows",
        status="not_identifiable",
    )
    if line is None or line.slope <= 0 or bound is None or full < _SEEN_SHARE * most:
        return base
    step = line.at(most)
    if step >= bound:
        return base
    # A stream also waits for half of the step that its round ends with.
    return _limited(base, (bound - step / 2) * most / step, min(line.spread(most) / step, 0.9))


def _law(points: Sequence[tuple[float, float]]) -> LinearLaw | None:
    """A step's time by its rows; a step without rows takes no less than nothing, whatever a line through them says."""
    fills, steps = zip(*points, strict=True)
    line = fit_line(fills, steps)
    if line is None or line.base >= 0:
        return line
    slope = sum(fill * step for fill, step in points) / sum(fill * fill for fill in fills)
    return msgspec.structs.replace(line, base=0.0, slope=slope)


def batching(evidence: Evidence) -> bool:
    """Whether the server batches rows: then busy time is no sign of a limit, as batches fill first."""
    return (evidence.key.max_batch or 1) > 1 and bool(_points(evidence))


def _limited(base: Resource, limit: float, unsure: float) -> Resource:
    half = max(unsure, _CERTAIN)
    return msgspec.structs.replace(
        base, limit=limit, low=limit * (1 - half), high=limit * (1 + half), status="identified"
    )


def _points(evidence: Evidence) -> list[tuple[float, float]]:
    """(rows of a long step, its seconds) from valid levels and from polls.

    What is known of a step's time is its 95th percentile, and of its rows the mean. Rows beyond the first come at
    random, so the long steps are those with `mean + 1.64 · √(mean − 1)` rows, and never more than the cap.
    """
    found = [
        (level.server_batch_fill, level.server_compute_p95_seconds)
        for level in evidence.valid
        if level.server_batch_fill is not None and level.server_compute_p95_seconds is not None
    ]
    fills, steps = (dict(evidence.polled.points(figure)) for figure in ("batch_fill", "compute_p95_seconds"))
    found += [(fills[load], steps[load]) for load in fills if load in steps]
    most = float(evidence.key.max_batch or 1)
    return [(min(fill + 1.64 * max(fill - 1, 0.0) ** 0.5, most), step) for fill, step in found]
