"""Evidence from ordinary production: what polls say about each resource at each number of streams.

A history may hold tens of millions of polls, so they are never read into Python. Up to `_WINDOWS` windows spread evenly
over the time of one identity are aggregated by SQL, one row for each number of streams seen in a window; the medians
over windows are robust to outliers, and a change that no version number tells about is found by comparing before with
after.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import median

import msgspec
import numpy as np

from capacity.models.linear import fit_line
from whisper_ops.formatting import span_of_time
from whisper_ops.history import History, poll_aggregates
from whisper_ops.history.poll_aggregates import GPU_FIGURES, SERVER_FIGURES, RunPeriod
from whisper_ops.identity import differing
from whisper_ops.plan_key import PlanKey
from whisper_ops.plausible_ranges import bound

_WINDOWS = 800
_WINDOW_SECONDS = 60.0
_LEAST_READINGS = 3
_SPLITS = 24
_SPLIT_GAIN = 0.5
_SPLIT_SHIFT = 0.10


class PolledMean(msgspec.Struct, frozen=True):
    """The mean of a figure at one number of streams in one window."""

    at: float
    load: float
    value: float


class PollEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What polls of one identity say: readings by figure, the most streams ever seen, and the time they span."""

    readings: dict[str, list[PolledMean]] = {}
    peak: float = 0.0
    """The most streams on one GPU (or on the server, divided by its GPUs)."""
    seconds: float = 0.0
    newest: float = 0.0
    slots_full: bool = False
    """Whether the slots were ever all taken: then demand may hide behind the cap."""
    slots: int | None = None
    """How many streams the server takes at once, by the last poll; None: it did not say."""
    notes: tuple[str, ...] = ()

    @property
    def span(self) -> str:
        """The time they span, in words."""
        return span_of_time(self.seconds)

    def points(self, figure: str) -> list[tuple[float, float]]:
        """The median of a figure at each load, rising, of loads that were seen often enough."""
        by_load: dict[float, list[float]] = {}
        for reading in self.readings.get(figure, []):
            by_load.setdefault(round(reading.load, 6), []).append(reading.value)
        least = _LEAST_READINGS if len(self.readings.get(figure, [])) > 10 * _LEAST_READINGS else 1
        return [(load, median(values)) for load, values in sorted(by_load.items()) if len(values) >= least]


def read_polls(history: History, key: PlanKey) -> PollEvidence:
    """The polls of a key's server while it ran exactly what the key says. Restarts and other versions are left out."""
    spans = [
        run._replace(since=ends[0], until=ends[1] + 1e-3)
        for run in poll_aggregates.runs(history, key.server)
        if not differing(run.identity, key) and (ends := poll_aggregates.polled_between(history, run)) is not None
    ]
    total = sum(span.until - span.since for span in spans)
    if not spans:
        return PollEvidence()
    readings: dict[str, list[PolledMean]] = {}
    peak, full = 0.0, False
    for since, until, server_id in _windows(spans, total):
        peak = max(peak, *_gpu_window(history, server_id, since, until, readings), 0.0)
        loads, was_full = _server_window(history, server_id, since, until, key.gpus_a_server, readings)
        peak, full = max(peak, loads), full or was_full
    kept, notes = _after_changes(readings)
    last = poll_aggregates.last_live_poll(history, key.server, math.inf)
    return PollEvidence(
        readings=kept,
        peak=peak,
        seconds=total,
        newest=max(span.until for span in spans),
        slots_full=full,
        slots=last.figures.slots if last is not None and last.figures is not None else None,
        notes=notes,
    )


def _windows(spans: Sequence[RunPeriod], total: float) -> Iterator[tuple[float, float, int]]:
    step = max(total / _WINDOWS, _WINDOW_SECONDS)
    for span in spans:
        since = span.since
        while since < span.until:
            yield since, min(since + _WINDOW_SECONDS, span.until), span.server_id
            since += step


def _gpu_window(
    history: History, server_id: int, since: float, until: float, readings: dict[str, list[PolledMean]]
) -> list[float]:
    loads = []
    for load in poll_aggregates.gpu_loads(history, server_id, since, until):
        loads.append(load.streams)
        _keep(readings, load.figures, GPU_FIGURES, since, load.streams)
    return loads


def _server_window(
    history: History, server_id: int, since: float, until: float, gpus: int, readings: dict[str, list[PolledMean]]
) -> tuple[float, bool]:
    most, full = 0.0, False
    for load in poll_aggregates.server_loads(history, server_id, since, until):
        most, full = max(most, load.streams / gpus), full or load.full
        _keep(readings, load.figures, SERVER_FIGURES, since, load.streams / gpus)
    return most, full


def _keep(
    readings: dict[str, list[PolledMean]], row: dict[str, float | None], figures: dict[str, str], at: float, load: float
) -> None:
    for figure, column in figures.items():
        value = row[figure]
        # What an older version let into the history may be no figure at all, and spoils the mean it is in.
        if value is not None and bound(column.rpartition(".")[2]).holds(value):
            readings.setdefault(figure, []).append(PolledMean(at, load, float(value)))


def _after_changes(readings: dict[str, list[PolledMean]]) -> tuple[dict[str, list[PolledMean]], tuple[str, ...]]:
    """Readings after the last change of behaviour, and a note where there was one.

    Lag, memory and busy time are looked at: what changes one of them changed the server.
    """
    since = 0.0
    for figure in ("server_busy_ratio", "gpu_memory_used_bytes", "server_lag_p95_seconds"):
        since = max(since, change_point([r for r in readings.get(figure, []) if r.at >= since]) or 0.0)
    if since == 0.0:
        return readings, ()
    kept = {figure: [r for r in found if r.at >= since] for figure, found in readings.items()}
    return kept, ("the server behaves differently since a moment in its polls; only what came after is used",)


def change_point(readings: Sequence[PolledMean]) -> float | None:
    """When a figure began to follow another law; None when one law explains all of it.

    Every split is tried: a line before and a line after must leave half of the misfit (absolute, so that outliers do
    not decide) and differ by a tenth at the usual load.
    """
    if len(readings) < 40:
        return None
    ordered = sorted(readings, key=lambda reading: reading.at)
    whole = _misfit(ordered)
    if whole is None or whole[0] <= 0:
        return None
    usual = median(reading.load for reading in ordered)
    best: tuple[float, float] | None = None
    for step in range(2, _SPLITS - 1):
        cut = len(ordered) * step // _SPLITS
        before, after = _misfit(ordered[:cut]), _misfit(ordered[cut:])
        if before is None or after is None:
            continue
        level = max(abs(before[1] + before[2] * usual), 1e-12)
        shift = abs(after[1] + after[2] * usual - before[1] - before[2] * usual) / level
        left = (before[0] * cut + after[0] * (len(ordered) - cut)) / (len(ordered) * whole[0])
        if left < _SPLIT_GAIN and shift > _SPLIT_SHIFT and (best is None or left < best[0]):
            best = (left, ordered[cut].at)
    return None if best is None else best[1]


def _misfit(readings: Sequence[PolledMean]) -> tuple[float, float, float] | None:
    """Mean absolute residual, base and slope of the robust line; None with too few loads."""
    line = fit_line([r.load for r in readings], [r.value for r in readings]) if len(readings) >= 8 else None
    if line is None:
        return None
    residuals = [abs(r.value - line.at(r.load)) for r in readings]
    return float(np.mean(residuals)), line.base, line.slope
