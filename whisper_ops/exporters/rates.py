"""What counts up, from one page to the next, as rates."""

import math
from collections.abc import Hashable, Iterable

from whisper_ops.counter_delta import counter_increase
from whisper_ops.exporters.mapping import rated
from whisper_ops.exporters.text_format import MetricSeries, Page


class Counters:
    """Remembers the last page's counters. `page` begins another one; what the one before lacked is unknown in it."""

    def __init__(self) -> None:
        self._before: dict[Hashable, float] = {}
        self._now: dict[Hashable, float] = {}
        self._at: float | None = None
        self.elapsed: float | None = None
        """Seconds since the page before, by a clock that nobody sets; None on the first."""

    def page(self, at: float) -> None:
        """A page came at `at`, monotonic seconds."""
        self.elapsed = None if self._at is None else at - self._at
        self._before, self._now, self._at = self._now, {}, at

    def increase(self, key: Hashable, value: float) -> float | None:
        """What was counted since the page before; None where that cannot be told."""
        before = self._before.get(key)
        rise = None if before is None else counter_increase(before, value)
        # What a counter fell by a misreading is not counted a second time when it rises again.
        self._now[key] = before if before is not None and rise == 0 else value
        return rise

    def rates(self, page: Page, at: float, metrics: Iterable[str]) -> Page:
        """What each series of these metrics counted a second since the page before; NaN where that cannot be told."""
        self.page(at)
        there = [metric for metric in metrics if metric in page]
        return {rated(metric): [self._rate(metric, row) for row in page[metric]] for metric in there}

    def _rate(self, metric: str, row: MetricSeries) -> MetricSeries:
        if not math.isfinite(row.value):
            return row._replace(value=math.nan)
        increase = self.increase((metric, *sorted(row.labels.items())), row.value)
        known = increase is not None and self.elapsed
        return row._replace(value=increase / self.elapsed if known else math.nan)  # type: ignore[operator]  # both are
