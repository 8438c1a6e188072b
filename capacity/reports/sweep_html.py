"""A sweep as one HTML file: the table, the verdicts, and pictures. Nothing is loaded from anywhere."""

from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path

from capacity.loadtest.level_details import Detail
from capacity.loadtest.responding_servers import per_gpu
from capacity.loadtest.runner import SweepOutcome
from capacity.reports.html_page import page
from capacity.reports.svg import SvgLine, bar_chart, line_chart
from capacity.reports.sweep_tables import verdict_text
from whisper_ops.errors import UserError
from whisper_ops.formatting import counted
from whisper_ops.histogram import LATENCY_BOUNDS_SECONDS
from whisper_ops.history import LevelRecord
from whisper_ops.objective import read_stored, readable
from whisper_ops.objective.judgement import is_evidence

_WATCHED = (
    ("cpu_ratio", "CPU", "cores", 1.0),
    ("memory_bytes", "memory", "GB", 1e9),
    ("gpu_ratio", "GPU", "GPUs", 1.0),
    ("gpu_memory_bytes", "GPU memory", "GB", 1e9),
)


def write_report(outcome: SweepOutcome, path: Path) -> None:
    """Write the report to `path`.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.write_text(render(outcome), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the report {path}: {error.strerror or error}") from error


def render(outcome: SweepOutcome) -> str:
    """The whole page."""
    sweep = outcome.sweep
    known = (sweep.software_title, sweep.model_title, sweep.gpu_name)
    runs = " · ".join(str(key) for key in known if key)
    played = (
        f"{sweep.protocol} streams, {sweep.chunk_seconds * 1e3:.0f} ms chunks, arrivals {sweep.arrivals}, "
        f"duty cycle {sweep.duty_cycle:g}, speech {sweep.corpus}"
        + ("" if sweep.pause_share is None else f", pauses {sweep.pause_share:.0%} of the time")
    )
    lines = (runs, played, f"objective: {readable(sweep.objective)}")
    parts = [f"<h1>Load test of {escape(sweep.server)}</h1>", f"<p>{'<br>'.join(map(escape, lines))}</p>"]
    if sweep.simulated:
        parts.append('<p class="simulated">This server is simulated: the figures say nothing about real hardware.</p>')
    said = [sentence for sentence in (outcome.said, outcome.reason) if sentence]
    parts += [f"<p><strong>{escape(sentence)}</strong></p>" for sentence in said]
    parts += [_table(outcome.levels), "<h2>Latency against load</h2>", _against_load(outcome)]
    if outcome.details:
        last = outcome.details[-1]
        parts += [
            "<h2>How long words took to become stable</h2>",
            _distribution(outcome.details),
            f"<h2>Who was late, at {counted(last.streams, 'stream')}</h2>",
            bar_chart(_late_streams(last), "stable p95 of each stream, s", _limits(sweep.objective, "stable_p95")),
            f"<h2>Streams on each GPU, at {counted(last.streams, 'stream')}</h2>",
            bar_chart(_per_gpu(last), "streams"),
        ]
        if replicas := Counter(stream.replica for stream in last.results if stream.replica):
            bars = [(name, float(count)) for name, count in sorted(replicas.items())]
            parts += [
                f"<h2>Streams on each replica, at {counted(last.streams, 'stream')}</h2>",
                bar_chart(bars, "streams"),
            ]
    for name, rows in outcome.watched.items():
        parts += [f"<h2>{escape(name)}</h2>", *_watched(rows)]
    return page(f"Load test of {sweep.server}", parts)


def _table(levels: Iterable[LevelRecord]) -> str:
    heads = ("streams", "live", "words", "first p95", "stable p95", "stable mean", "WER", "bad", "late p99", "verdict")
    rows = [
        (
            *(str(level.streams), f"{level.achieved_concurrency:.1f}", str(level.words)),
            *map(_seconds, (level.first_p95_seconds, level.stable_p95_seconds, level.stable_mean_seconds)),
            "—" if level.wer_ratio is None else f"{level.wer_ratio * 100:.1f} %",
            str(level.refused + level.failed),
            _seconds(level.late_p99_seconds),
            f"{verdict_text(level)}{': ' + level.reason if level.reason else ''}",
        )
        for level in levels
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table class='figures'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _against_load(outcome: SweepOutcome) -> str:
    levels = sorted((level for level in outcome.levels if is_evidence(level.audit)), key=lambda level: level.streams)
    lines = [
        SvgLine(name, [(level.streams, value) for level in levels if (value := getattr(level, column)) is not None])
        for name, column in (
            ("stable p95", "stable_p95_seconds"),
            ("stable p50", "stable_p50_seconds"),
            ("first shown p95", "first_p95_seconds"),
        )
    ]
    limits = _limits(outcome.sweep.objective, "stable_p95", "stable_p50", "first_p95")
    return line_chart(lines, "streams", "seconds", limits, whole_x=True)


def _limits(objective: str, *names: str) -> list[tuple[str, float]]:
    wanted = read_stored(objective)
    return [
        (f"limit of {name.replace('_', ' ')}", limit) for name in names if (limit := wanted.limit(name)) is not None
    ]


def _distribution(levels: Iterable[Detail]) -> str:
    lines = []
    for level in levels:
        total = sum(bucket.stable for bucket in level.latencies)
        points, so_far = [(0.0, 0.0)], 0
        for bucket in level.latencies:
            so_far += bucket.stable
            if bucket.bucket < len(LATENCY_BOUNDS_SECONDS):
                points.append((LATENCY_BOUNDS_SECONDS[bucket.bucket], so_far / max(1, total) * 100))
        if total:
            lines.append(SvgLine(counted(level.streams, "stream"), points, marks=False))
    return line_chart(lines, "seconds until stable", "% of words")


def _late_streams(level: Detail) -> list[tuple[str, float]]:
    found = [(str(stream.number), stream.stable_p95_seconds or 0.0) for stream in level.results]
    return sorted(found, key=lambda bar: -bar[1])[:60]


def _per_gpu(level: Detail) -> list[tuple[str, float]]:
    return [(gpu, float(count)) for gpu, count in per_gpu(level.results).items()]


def _watched(rows: list[dict[str, float]]) -> list[str]:
    start = rows[0]["at"] if rows else 0.0
    charts = []
    for name, title, unit, scale in _WATCHED:
        points = [(row["at"] - start, row[name] / scale) for row in rows if name in row]
        if points:
            charts.append(line_chart([SvgLine(f"{title}, {unit}", points, marks=False)], "seconds", unit))
    return charts


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f} s"
