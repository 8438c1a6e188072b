"""Four ways to run, in the words operators use, cut from the safe limit and the interval's upper end."""

import math
from collections.abc import Sequence

from whisper_ops.plan.plan_document import Resource, Tier

CUTS = (
    ("conservative", 0.50, "stable when measured", "expected to be stable, not measured"),
    ("moderate", 0.70, "for production", "for production once it is measured"),
    ("aggressive", 0.90, "watch the lag", "watch the lag"),
)
"""Name, share of the safe limit, and how stable: where levels showed it, and where they did not."""
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
    proven: int | None = None,
) -> tuple[Tier, ...]:
    """The tiers of a safe limit; extreme is the interval's upper end, or the limit where no level failed.

    `proven`: the most connections that long levels showed to be carried; None: none did.
    """
    made = [
        Tier(
            name=name,
            connections=cut(safe_limit, share),
            cut=f"{share:.0%} of {safe_limit:,}",
            stability=stable if proven is not None and cut(safe_limit, share) <= proven else unsure,
            expected=_expected(cut(safe_limit, share), resources),
        )
        for name, share, stable, unsure in CUTS
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
    found = ((resource.name, resource.expected(connections)) for resource in resources)
    return {name: figure for name, figure in found if figure is not None}
