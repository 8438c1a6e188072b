"""Latency against load as a small picture for a terminal: one bar a level, and where the objective's limit stands."""

from collections.abc import Sequence

from rich.text import Text

from whisper_ops.formatting import seconds
from whisper_ops.history import LevelRecord
from whisper_ops.objective import ObjectiveTerm, read_stored

_HEAD = "streams"
_USUAL = "stable_p95_seconds"
_VALUE = 7
_VERDICT = 12
_LEAST_BAR = 10
_OVER = 1.5
"""The picture ends at so many times the limit: what is far beyond it is only beyond."""
_MARKS = {True: ("✓ met", "green"), False: ("✗ missed", "red"), None: ("? no answer", "yellow")}


def latency_picture(levels: Sequence[LevelRecord], objective: str, width: int, rows: int) -> list[Text]:
    """The latency that decides, of the newest `rows` levels by load, below a head with its limit; empty without levels.

    Of the objective's latencies it is the one that comes nearest its limit, or is furthest over it; without any it is
    the p95 of stable words.
    """
    if not levels:
        return []
    shown = sorted(levels[-max(1, rows) :], key=lambda level: level.streams)
    term = _decides(shown, objective)
    column = _USUAL if term is None else term.column
    bar = max(_LEAST_BAR, width - len(_HEAD) - _VALUE - _VERDICT - 6)
    known = [value for level in shown if (value := getattr(level, column)) is not None]
    top = 1.05 * max(known, default=1.0) or 1.0 if term is None else _OVER * term.limit
    at = None if term is None else round(bar / _OVER)
    return [_head(bar, at, term), *(_row(level, getattr(level, column), bar, at, top) for level in shown)]


def _decides(levels: Sequence[LevelRecord], objective: str) -> ObjectiveTerm | None:
    terms = [term for term in read_stored(objective).durations if not term.relative and term.limit > 0]

    def nearest(term: ObjectiveTerm) -> float:
        shares = [value / term.limit for level in levels if (value := getattr(level, term.column)) is not None]
        return max(shares, default=0.0)

    return max(terms, key=nearest, default=None)


def _head(bar: int, at: int | None, term: ObjectiveTerm | None) -> Text:
    title = "stable p95" if term is None else term.name.replace("_", " ")
    if at is None or term is None:
        return Text(f"{_HEAD}  {title}", style="dim")
    mark = f" limit {term.limit:g} s"
    # It ends over the line of the limit, where there is room for both words.
    return Text(f"{_HEAD}  {title}{mark:>{max(at + 1 - len(title), len(mark))}}"[: len(_HEAD) + 2 + bar], style="dim")


def _row(level: LevelRecord, value: float | None, bar: int, at: int | None, top: float) -> Text:
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
