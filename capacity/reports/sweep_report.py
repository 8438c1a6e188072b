"""A sweep in its forms: a table for a terminal; with plots of latency, words, streams and what was watched for HTML."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from capacity.loadtest.level_details import LevelDetail
from capacity.loadtest.responding_servers import per_gpu
from capacity.loadtest.runner import SweepOutcome
from capacity.reports.output import Output
from capacity.reports.plots import Plot, PlotBar, Series
from capacity.reports.report import Report, ReportTable, Section, columns
from capacity.reports.sweep_tables import json_body, level_table, placement, verdict_text
from capacity.reports.watch_summary import watched_table
from whisper_ops.console import table_width
from whisper_ops.formatting import counted
from whisper_ops.histogram import LATENCY_BOUNDS_SECONDS
from whisper_ops.history import LevelRecord, SweepRecord
from whisper_ops.objective import read_stored, readable
from whisper_ops.objective.judgement import is_evidence

_WATCHED = (
    ("cpu_ratio", "CPU", "cores", 1.0),
    ("memory_bytes", "memory", "GB", 1e9),
    ("gpu_ratio", "GPU", "GPUs", 1.0),
    ("gpu_memory_bytes", "GPU memory", "GB", 1e9),
)
_MOST_BARS = 60


def output(outcome: SweepOutcome) -> Output:
    """A sweep in its forms."""
    return Output(
        schema="sweep",
        body=lambda: json_body(outcome),
        show=lambda console: _show(outcome, console),
        report=lambda: report(outcome),
    )


def _show(outcome: SweepOutcome, console: Console) -> None:
    width = table_width(console)
    if outcome.levels:
        console.print(level_table(outcome.levels, width), width=width)
    if (where := placement(outcome)) is not None:
        console.print(where, soft_wrap=not console.is_terminal)
    if outcome.watched:
        console.print(watched_table(outcome.watched), width=width)
    if outcome.conclusion:
        console.print(outcome.conclusion, soft_wrap=not console.is_terminal)


def report(outcome: SweepOutcome) -> Report:
    """All of a sweep, for HTML."""
    sweep = outcome.sweep
    simulated = "This server is simulated: the figures say nothing about real hardware."
    return Report(
        answer=f"Load test of {sweep.server}",
        warning=simulated if sweep.simulated else "",
        lines=tuple(filter(None, (outcome.conclusion, outcome.reason))),
        about=_conditions(sweep),
        sections=tuple(_sections(outcome)),
    )


def _conditions(sweep: SweepRecord) -> tuple[str, ...]:
    ran = " · ".join(str(key) for key in (sweep.software_title, sweep.model_title, sweep.gpu_name) if key)
    pauses = "" if sweep.pause_share is None else f", pauses {sweep.pause_share:.0%} of the time"
    played = (
        f"{sweep.protocol} streams, {sweep.chunk_seconds * 1e3:.0f} ms chunks, arrivals {sweep.arrivals}, "
        f"duty cycle {sweep.duty_cycle:g}, speech {sweep.corpus}{pauses}"
    )
    return (*([ran] if ran else []), played, f"objective: {readable(sweep.objective)}")


def _sections(outcome: SweepOutcome) -> Iterator[Section]:
    yield Section(table=_levels(outcome.levels))
    yield Section(heading="Latency against load", plots=(_against_load(outcome),))
    if outcome.details:
        last = outcome.details[-1]
        at = f"at {counted(last.streams, 'stream')}"
        yield Section(heading="How long words took to become stable", plots=(_distribution(outcome.details),))
        limits = _limits(outcome.sweep.objective, "stable_p95")
        late = Plot(y_label="stable p95 of each stream, s", bars=_late_streams(last), limits=limits)
        yield Section(heading=f"Who was late, {at}", plots=(late,))
        yield Section(heading=f"Streams on each GPU, {at}", plots=(_streams(per_gpu(last.results)),))
        if replicas := Counter(stream.replica for stream in last.results if stream.replica):
            yield Section(heading=f"Streams on each replica, {at}", plots=(_streams(dict(sorted(replicas.items()))),))
    for name, rows in outcome.watched.items():
        yield Section(heading=name, plots=tuple(_watched(rows)))


def _levels(levels: Iterable[LevelRecord]) -> ReportTable:
    titles = ("streams", "live", "words", "first p95", "stable p95", "stable mean", "WER", "bad", "late p99", "verdict")
    rows = tuple(
        (
            *(str(level.streams), f"{level.achieved_concurrency:.1f}", str(level.words)),
            *map(_seconds, (level.first_p95_seconds, level.stable_p95_seconds, level.stable_mean_seconds)),
            "—" if level.wer_ratio is None else f"{level.wer_ratio * 100:.1f} %",
            str(level.refused + level.failed),
            _seconds(level.late_p99_seconds),
            f"{verdict_text(level)}{': ' + level.reason if level.reason else ''}",
        )
        for level in levels
    )
    return ReportTable(columns(*titles, figures=titles[:-1]), rows)


def _against_load(outcome: SweepOutcome) -> Plot:
    levels = sorted((level for level in outcome.levels if is_evidence(level.audit)), key=lambda level: level.streams)
    series = tuple(
        Series(name, tuple((level.streams, at) for level in levels if (at := getattr(level, column)) is not None))
        for name, column in (
            ("stable p95", "stable_p95_seconds"),
            ("stable p50", "stable_p50_seconds"),
            ("first shown p95", "first_p95_seconds"),
        )
    )
    limits = _limits(outcome.sweep.objective, "stable_p95", "stable_p50", "first_p95")
    return Plot(x_label="streams", y_label="seconds", series=series, limits=limits, whole_x=True)


def _limits(objective: str, *names: str) -> tuple[tuple[str, float], ...]:
    judged_by = read_stored(objective)
    return tuple(
        (f"limit of {name.replace('_', ' ')}", limit) for name in names if (limit := judged_by.limit(name)) is not None
    )


def _distribution(levels: Iterable[LevelDetail]) -> Plot:
    series = []
    for level in levels:
        total = sum(bucket.stable for bucket in level.latencies)
        points, so_far = [(0.0, 0.0)], 0
        for bucket in level.latencies:
            so_far += bucket.stable
            if bucket.bucket < len(LATENCY_BOUNDS_SECONDS):
                points.append((LATENCY_BOUNDS_SECONDS[bucket.bucket], so_far / max(1, total) * 100))
        if total:
            series.append(Series(counted(level.streams, "stream"), tuple(points), dots=False))
    return Plot(x_label="seconds until stable", y_label="% of words", series=tuple(series))


def _late_streams(level: LevelDetail) -> tuple[PlotBar, ...]:
    bars = (PlotBar(str(stream.number), stream.stable_p95_seconds or 0.0) for stream in level.results)
    return tuple(sorted(bars, key=lambda bar: -bar.value)[:_MOST_BARS])


def _streams(counts: dict[str, int]) -> Plot:
    return Plot(y_label="streams", bars=tuple(PlotBar(name, float(count)) for name, count in counts.items()))


def _watched(rows: Sequence[dict[str, float]]) -> Iterator[Plot]:
    start = rows[0]["at"] if rows else 0.0
    for name, title, unit, scale in _WATCHED:
        points = tuple((row["at"] - start, row[name] / scale) for row in rows if name in row)
        if points:
            series = (Series(title, points, dots=False),)
            yield Plot(title=title, x_label="seconds", y_label=unit, series=series, legend=False)


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f} s"
