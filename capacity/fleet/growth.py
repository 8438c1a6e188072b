"""Growth: days until the fleet is full if the daily peaks go on as they do, with an interval."""

from collections.abc import Sequence

import msgspec

from capacity.models.linear import fit_line
from whisper_ops.plan.plan_document import DemandTrend

LEAST_DAYS = 4
_DAY = 86400.0
_FAR_DAYS = 3650.0


def trend(peaks: Sequence[tuple[float, float]], limit: float) -> DemandTrend | None:
    """The trend of daily peaks towards a limit; None below `LEAST_DAYS` days."""
    if len(peaks) < LEAST_DAYS:
        return None
    days, tops = [day for day, _ in peaks], [top for _, top in peaks]
    line = fit_line(days, tops)
    if line is None:
        return None
    made = DemandTrend(
        days=len(peaks), peak=max(tops), per_day=line.slope, limit=limit, until=None, low=None, high=None
    )
    reached = line.reaches(limit)
    if reached is None or reached[0] - days[-1] > _FAR_DAYS:
        return made
    # The slope itself is what is unsure: its interval turns into the interval of the days.
    unsure = line.slope_unsure()
    now = line.at(days[-1])
    until = max((limit - now) / line.slope, 0.0)
    low = max((limit - now) / (line.slope + unsure), 0.0)
    high = max((limit - now) / (line.slope - unsure), 0.0) if line.slope > unsure else None
    return msgspec.structs.replace(made, until=until, low=low, high=high)


def trend_text(trend: DemandTrend) -> str:
    """The growth of daily peaks, and in how many days they reach the limit, as a sentence."""
    if trend.until is None:
        return f"Trend: daily peaks (highest {trend.peak:.0f}) do not grow towards {trend.limit:.0f}."
    high = "or never" if trend.high is None else f"to {trend.high:.0f}"
    low = 0 if trend.low is None else trend.low
    return (
        f"Trend: peaks grow by {trend.per_day:.2g} a day and reach the {trend.limit:.0f} of all GPUs in "
        f"{trend.until:.0f} days "
        f"(80 % sure: {low:.0f} {high}), from {trend.days} days."
    )
