"""What is counted since the start, and the percentiles of the last minute: of a server, and of a fleet."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from whisper_ops.histogram import LatencyHistogram, quantile
from whisper_ops.wire import Averages, Extremes, Latency

WINDOW_SECONDS = 60


class Rolling:
    """A histogram since the start, and one of the last minute made of a slice a second."""

    def __init__(self) -> None:
        self.total = LatencyHistogram()
        self._slices: deque[LatencyHistogram] = deque([LatencyHistogram()], maxlen=WINDOW_SECONDS)

    def observe(self, values: Iterable[float]) -> None:
        """Count latencies, in seconds."""
        for value in values:
            self.total.observe(value)
            self._slices[-1].observe(value)

    def add(self, counts: Sequence[int], sum_seconds: float, *, is_recent: bool) -> None:
        """Add what another process counted, by bucket; to the last minute only what `is_recent`."""
        for histogram in (self.total, self._slices[-1]) if is_recent else (self.total,):
            histogram.counts = [own + more for own, more in zip(histogram.counts, counts, strict=True)]
            histogram.sum_seconds += sum_seconds

    def turn(self) -> None:
        """A second has passed."""
        self._slices.append(LatencyHistogram())

    def quantiles(self, *shares: float) -> list[float | None]:
        """Quantiles over the last minute, in seconds; None with no observation."""
        counts = [sum(column) for column in zip(*(part.counts for part in self._slices), strict=True)]
        return [quantile(counts, share) for share in shares]


def latency_block(lag: Rolling, final: Rolling, setup: Rolling, partial_interval_s: float | None) -> Latency:
    """The wire's latency block."""
    lag50, lag95, lag99 = lag.quantiles(0.5, 0.95, 0.99)
    final50, final95 = final.quantiles(0.5, 0.95)
    setup50, setup95 = setup.quantiles(0.5, 0.95)
    return Latency(
        lag_p50_s=lag50,
        lag_p95_s=lag95,
        lag_p99_s=lag99,
        final_p50_s=final50,
        final_p95_s=final95,
        setup_p50_s=setup50,
        setup_p95_s=setup95,
        partial_interval_s=partial_interval_s,
        lag_bucket_counts=tuple(lag.total.counts),
        final_bucket_counts=tuple(final.total.counts),
        setup_bucket_counts=tuple(setup.total.counts),
        lag_sum_s=lag.total.sum_seconds,
        final_sum_s=final.total.sum_seconds,
        setup_sum_s=setup.total.sum_seconds,
    )


@dataclass
class Mean:
    """A running mean with its extremes."""

    count: int = 0
    total: float = 0.0
    low: float | None = None
    high: float | None = None

    def add(self, value: float) -> None:
        """Count a value."""
        self.count += 1
        self.total += value
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)

    @property
    def mean(self) -> float | None:
        """None with no data."""
        return self.total / self.count if self.count else None


@dataclass
class ServerCounters:
    """Counts since the server's start."""

    accepted: int = 0
    completed: int = 0
    failed: int = 0
    resumed: int = 0
    overloaded: int = 0
    paused: int = 0
    tickets_issued: int = 0
    tickets_used: int = 0
    tickets_abandoned: int = 0
    misplaced: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    setup_ms: Mean = field(default_factory=Mean)
    setup: Rolling = field(default_factory=Rolling)
    duration_s: Mean = field(default_factory=Mean)
    chunks: Mean = field(default_factory=Mean)
    texts: Mean = field(default_factory=Mean)
    lag: Rolling = field(default_factory=Rolling)
    final: Rolling = field(default_factory=Rolling)
    interval_s: float | None = None

    def turn(self, lags: Sequence[float]) -> None:
        """A second has passed; these are the lags of the live streams."""
        self.lag.turn()
        self.final.turn()
        self.setup.turn()
        self.lag.observe(lags)

    def set_up(self, elapsed_ms: float) -> None:
        """A stream is ready, so long after its connection."""
        self.setup_ms.add(elapsed_ms)
        self.setup.observe([elapsed_ms / 1000])

    def latency(self) -> Latency:
        return latency_block(self.lag, self.final, self.setup, self.interval_s)

    def averages(self) -> Averages:
        """The wire's averages."""
        return Averages(
            setup_time_ms=self.setup_ms.mean,
            connection_duration_s=self.duration_s.mean,
            audio_chunks_per_connection=self.chunks.mean,
            transcriptions_per_connection=self.texts.mean,
        )

    def extremes(self) -> Extremes:
        """The wire's extremes."""
        return Extremes(slowest_setup_ms=self.setup_ms.high, fastest_setup_ms=self.setup_ms.low)
