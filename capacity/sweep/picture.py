"""Latency against load as a small picture for a terminal: one bar a level, and where the objective's limit stands."""

from collections.abc import Sequence

from rich.text import Text

from whisper_ops.formatting import seconds
from whisper_ops.history import LevelRecord
from whisper_ops.objective import read_stored

_HEAD = "streams"
_VALUE = 7
_VERDICT = 12
_LEAST_BAR = 10
_OVER = 1.5
"""The picture ends at so many times the limit: what is far beyond it is only beyond."""
_MARKS = {True: ("✓ met", "green"), False: ("✗ missed", "red"), None: ("? no answer", "yellow")}


def latency_picture(levels: Sequence[LevelRecord], objective: str, width: int, rows: int) -> list[Text]:
    """The stable p95 of the newest `rows` levels by load, with a head that names the limit; empty without levels."""
    if not levels:
        return []
    shown = sorted(levels[-max(1, rows) :], key=lambda level: level.streams)
    limit = read_stored(objective).limit("stable_p95")
    bar = max(_LEAST_BAR, width - len(_HEAD) - _VALUE - _VERDICT - 6)
    known = [level.stable_p95_seconds for level in shown if level.stable_p95_seconds is not None]
    top = _OVER * limit if limit else 1.05 * max(known, default=1.0) or 1.0
    at = None if not limit else round(bar / _OVER)
    return [_head(bar, at, limit), *(_row(level, bar, at, top) for level in shown)]


def _head(bar: int, at: int | None, limit: float | None) -> Text:
    title = "stable p95"
    if at is None:
        return Text(f"{_HEAD}  {title}", style="dim")
    mark = f"limit {limit:g} s"
    # Its last character but the unit's stands over the line where there is room for both words.
    room = max(at - len(title), len(mark) + 1)
    return Text(f"{_HEAD}  {title}{mark:>{room}}"[: len(_HEAD) + 2 + bar], style="dim")


def _row(level: LevelRecord, bar: int, at: int | None, top: float) -> Text:
    value = level.stable_p95_seconds
    share = 0.0 if value is None else value / top
    word, style = _MARKS[level.passed]
    if level.audit == "disturbed":
        word = "? disturbed"
    filled = min(bar, max(1, round(share * bar))) if value is not None else 0
    cells = ["━"] * filled + [" "] * (bar - filled)
    if share > 1:
        cells[-1] = "▶"
    if at is not None and at < bar and cells[at] == " ":
        cells[at] = "┊"
    return Text.assemble(
        f"{level.streams:>{len(_HEAD)}}  ", ("".join(cells), style), f" {seconds(value):>{_VALUE}}  ", (word, style)
    )
