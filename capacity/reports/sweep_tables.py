"""A sweep's results as a table and as the body of `sweep --json`."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from capacity.loadtest.responding_servers import per_gpu, server_of
from capacity.loadtest.runner import SweepOutcome
from capacity.loadtest.transcripts import by_file
from capacity.reports.watch_summary import summary
from whisper_ops.console import PlainConsole
from whisper_ops.history import LevelRecord
from whisper_ops.objective.findings import FewWords
from whisper_ops.objective.judgement import findings_of, is_evidence

_AUDIT_MARK = {"valid": "", "provisional": " (provisional)", "invalid": " (invalid)", "disturbed": " (disturbed)"}


def verdict_text(level: LevelRecord) -> str:
    """Glyph and words, for people with and without colour."""
    answer = {True: "✓ met", False: "✗ missed", None: "? no answer"}[level.passed]
    return answer + _AUDIT_MARK[level.audit]


_COLUMNS: dict[str, Callable[[LevelRecord], str]] = {
    "streams": lambda level: str(level.streams),
    "live": lambda level: f"{level.achieved_concurrency:.1f}",
    "words": lambda level: str(level.words),
    "first p50/p95": lambda level: _pair(level.first_p50_seconds, level.first_p95_seconds),
    "stable p50/p95": lambda level: _pair(level.stable_p50_seconds, level.stable_p95_seconds),
    "WER": lambda level: "—" if level.wer_ratio is None else f"{level.wer_ratio * 100:.1f} %",
    "bad": lambda level: str(level.refused + level.failed),
    "late p99": lambda level: "—" if level.late_p99_seconds is None else f"{level.late_p99_seconds * 1e3:.0f} ms",
    "lag p95": lambda level: _seconds(level.server_lag_p95_seconds),
    "objective": verdict_text,
}
_CHOICES = (
    tuple(_COLUMNS),
    ("streams", "live", "stable p50/p95", "WER", "bad", "objective"),
    ("streams", "stable p50/p95", "objective"),
)
"""From many columns to few; the last is shown however narrow it is."""
UNLIMITED = 1000
"""Characters of a line that may be as long as it needs."""


def level_table(levels: Sequence[LevelRecord], width: int = UNLIMITED) -> Group:
    """One row a level in the order they were run; below it why, once for all levels of the same reason.

    Args:
        levels: what to show.
        width: characters there are; with fewer than all columns need, the main ones are shown.
    """
    ruler = PlainConsole(width=UNLIMITED)
    tables = [_table(levels, names) for names in _CHOICES]
    table = next((table for table in tables if ruler.measure(table).maximum <= width), tables[-1])
    return Group(table, *(Text(line) for line in _reasons(levels)))


def _table(levels: Sequence[LevelRecord], names: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name == "objective" else "right", no_wrap=True)
    for level in levels:
        table.add_row(*(_COLUMNS[name](level) for name in names), style=None if is_evidence(level.audit) else "dim")
    return table


def _reasons(levels: Sequence[LevelRecord]) -> list[str]:
    sharing: dict[str, list[str]] = {}
    for level in levels:
        for reason in _reasons_of(level):
            sharing.setdefault(reason, []).append(str(level.streams))
    return [f"{_who(who, len(levels))}: {reason}" for reason, who in sharing.items()]


def _reasons_of(level: LevelRecord) -> list[str]:
    """In words; as they were stored where an older version measured the level."""
    findings = findings_of(level)
    if not findings:
        return [level.reason] if level.reason else []
    # Each level has its own number of words; that they are few is one reason.
    return [f"fewer than {f.needed} words" if isinstance(f, FewWords) else str(f) for f in findings]


def _who(streams: Sequence[str], of: int) -> str:
    return "all levels" if len(streams) == of > 1 else f"at {', '.join(dict.fromkeys(streams))}"


def placement(outcome: SweepOutcome) -> str | None:
    """Where the streams of the largest level were, when more than one server answered; else None."""
    last = outcome.details[-1] if outcome.details else None
    servers = {server_of(stream) for stream in last.results} - {None} if last else set()
    if last is None or len(servers) < 2:
        return None
    found = per_gpu(last.results)
    where = ", ".join(f"{gpu}: {count}" for gpu, count in found.items()) or "which GPUs they have is not known"
    return f"{len(servers)} servers answered; of {last.streams} streams {where}"


def json_body(outcome: SweepOutcome) -> dict[str, Any]:
    """The body of `whisper-ops/sweep/1`."""
    return {
        "sweep_id": outcome.sweep_id,
        "state": outcome.state,
        "reason": outcome.reason,
        "conclusion": outcome.conclusion,
        "sweep": msgspec.structs.asdict(outcome.sweep) | {"settings": msgspec.json.decode(outcome.sweep.settings)},
        "levels": [_row(level) for level in outcome.levels],
        "placement": {detail.streams: per_gpu(detail.results) for detail in outcome.details},
        "watched": outcome.watched,
        "watched_summary": {name: summary(rows) for name, rows in outcome.watched.items()},
        "transcripts": by_file(outcome.transcripts),
    }


def _row(level: LevelRecord) -> dict[str, Any]:
    return msgspec.structs.asdict(level) | {"findings": msgspec.json.decode(level.findings)}


def _pair(one: float | None, other: float | None) -> str:
    return f"{_seconds(one)} / {_seconds(other)}"


def _seconds(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f} s"
