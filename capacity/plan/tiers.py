"""Four ways to run, in the words operators use, cut from the safe limit and the interval's upper end."""

import math
from collections.abc import Sequence
from itertools import pairwise

from capacity.plan.shape import Resource, Tier

CUTS = (
    ("conservative", 0.50, "guaranteed stable"),
    ("moderate", 0.70, "for production"),
    ("aggressive", 0.90, "watch the lag"),
)
RECOMMENDED = 0.90


def cut(limit: int, share: float) -> int:
    """A share of a limit, rounded down so that it is never over the share; but one connection is the least there is."""
    return max(1, math.floor(limit * share + 1e-9))


def tiers(
    safe_limit: int,
    upper_end: int | None,
    resources: Sequence[Resource],
    all_of_it: str = "the last level that passed",
    above: str = "the first level that failed",
) -> tuple[Tier, ...]:
    """The tiers of a safe limit; extreme is the interval's upper end, or the limit where no level failed."""
    made = [
        Tier(
            name=name,
            connections=cut(safe_limit, share),
            cut=f"{share:.0%} of {safe_limit}",
            stability=stability,
            expected=_expected(cut(safe_limit, share), resources),
        )
        for name, share, stability in CUTS
    ]
    extreme = safe_limit if upper_end is None else upper_end
    how = all_of_it if upper_end is None else above
    made.append(
        Tier(
            name="extreme",
            connections=extreme,
            cut=how,
            stability="not recommended",
            expected=_expected(extreme, resources),
        )
    )
    return tuple(made)


def _expected(connections: int, resources: Sequence[Resource]) -> dict[str, float]:
    return {
        resource.name: at(resource.curve, connections)
        for resource in resources
        if resource.curve and connections <= resource.curve[-1][0]
    }


def at(curve: Sequence[tuple[float, float]], load: float) -> float:
    """A curve's value at a load, linear between its points."""
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x0 <= load <= x1:
            return y0 + (y1 - y0) * ((load - x0) / (x1 - x0) if x1 > x0 else 0)
    return curve[-1][1]
