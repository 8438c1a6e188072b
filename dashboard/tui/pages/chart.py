"""Charts in block characters: bounds that are written down, gaps that are seen, and one time cursor for all of them."""

import math
from collections.abc import Sequence

from dashboard import figure_text as f
from dashboard.chart_data import SPANS, Chart, ChartData, ChartSeries
from dashboard.tui.pages.gauges import GAP, joined
from dashboard.tui.pages.styled_lines import BLANK, Cell, Line, Style, TextSpan, fit, line

GUTTER = 9
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LIMIT = "╌"

_HEADING_LINES = 1
_AROUND_LINES = 3
"""Of each chart: its title, base line and times."""
_LEAST_HEIGHT, _MOST_HEIGHT = 4, 24
_HALVED_HEIGHT = 8
"""From here on the middle of the scale is written beside it, too."""


def chart_lines(chart: Chart, data: ChartData, width: int, height: int) -> list[Line]:
    """A chart as `height + 3` lines of `width` cells: title, picture, base line, times."""
    series = data.series.get(chart.query)
    columns = max(1, width - GUTTER)
    if series is None:
        return [line(TextSpan(f" {chart.title}", "title")), *[BLANK] * (height + 2)]
    values = series.values[-columns:]
    known = [value for value in values if value is not None]
    top = _round_up(max([chart.top, *known]))
    rows = [_row(chart, values, top, level, height) for level in range(height - 1, -1, -1)]
    labels = [chart.show(top), *[""] * (height - 1)]
    if height >= _HALVED_HEIGHT and height % 2 == 0 and (chart.show is not f.count or top % 2 == 0):
        labels[height // 2] = chart.show(top / 2)
    picture = [
        Line((TextSpan(f"{label:>{GUTTER - 1}} ", "dim"), *row)) for label, row in zip(labels, rows, strict=True)
    ]
    return [_title(chart, series, known, data.cursor, width), *picture, *_times(series, len(values), data.cursor)]


def side_by_side(left: Sequence[Line], right: Sequence[Line], width: int, gap: int = 2) -> list[Line]:
    """Two blocks of lines next to each other; the left one takes `width` cells."""
    length = max(len(left), len(right))
    pairs = zip([*left, *[BLANK] * (length - len(left))], [*right, *[BLANK] * (length - len(right))], strict=True)
    return [Line((*fit(one.spans, width), TextSpan(" " * gap), *other.spans)) for one, other in pairs]


def chart_height(count: int, width: int, room: int) -> int:
    """How high each of so many pictures may be that a page with `room` lines is filled; at least readable."""
    rows = -(-count // _across(width))
    height = (room - _HEADING_LINES) // max(1, rows) - _AROUND_LINES
    return max(_LEAST_HEIGHT, min(_MOST_HEIGHT, height - height % 2))


def chart_grid(charts: Sequence[Chart], data: ChartData, width: int, height: int) -> list[Line]:
    """Charts in one column, or in two where there is room for both, below a line that says what they span."""
    lines = [_heading(data)]
    if data.note is not None:
        return [*lines, line(TextSpan(f"   {data.note}", "dim"))]
    across = _across(width)
    each = (width - 2 * (across - 1)) // across
    for start in range(0, len(charts), across):
        blocks = [chart_lines(chart, data, each, height) for chart in charts[start : start + across]]
        lines += blocks[0] if len(blocks) == 1 else side_by_side(blocks[0], blocks[1], each)
    return lines


def chart_columns(width: int) -> int:
    """How many steps the charts of a page that wide have room for."""
    across = _across(width)
    return max(1, (width - 2 * (across - 1)) // across - GUTTER)


def _across(width: int) -> int:
    return 2 if width >= 100 else 1


def _heading(data: ChartData) -> Line:
    # The moment comes before the keys: on a narrow terminal it is these that are cut.
    now = max((series.since + series.step * (len(series.values) - 1) for series in data.series.values()), default=0.0)
    moment = () if data.cursor is None else (TextSpan("   at ", "dim"), TextSpan(f.when(data.cursor, now), "accent"))
    return line(
        TextSpan(" the last ", "dim"), TextSpan(SPANS[data.span][0], "title"), *moment,
        TextSpan("   [ ] change the span   , . move the cursor", "dim"),
    )  # fmt: skip


def _title(chart: Chart, series: ChartSeries, known: Sequence[float], cursor: float | None, width: int) -> Line:
    spans: list[TextSpan] = [TextSpan(f" {chart.title}", "title")]
    if cursor is not None:
        spans += [TextSpan("  then ", "dim"), TextSpan(chart.show(series.at(cursor)), "accent")]
    if known:
        last = series.values[-1] if series.values[-1] is not None else series.values[-2] if len(known) > 1 else None
        spans += [
            TextSpan("  now ", "dim"), TextSpan(chart.show(last)),
            TextSpan("  min ", "dim"), TextSpan(chart.show(min(known))),
            TextSpan("  max ", "dim"), TextSpan(chart.show(max(known))),
        ]  # fmt: skip
    else:
        spans.append(TextSpan("   nothing recorded in this span", "dim"))
    return Line(fit(tuple(spans), width))


def _row(chart: Chart, values: Sequence[float | None], top: float, level: int, height: int) -> Cell:
    """One row of the picture; `level` counts from the bottom."""
    step = top / height
    limit_here = chart.limit is not None and level * step <= chart.limit < (level + 1) * step
    pieces: list[tuple[str, Style]] = []
    for value in values:
        if value is None:
            pieces.append((GAP, "rest") if level == 0 else (" ", ""))
            continue
        over = chart.limit is not None and value > chart.limit
        eighths = max(0, min(8, round((value / step - level) * 8)))
        if eighths == 0 and level == 0 and value > 0:
            eighths = 1
        if eighths == 0 and limit_here:
            pieces.append((_LIMIT, "rest"))
        else:
            pieces.append((_EIGHTHS[eighths], "bad" if over else "fill"))
    return joined(pieces)


def _times(series: ChartSeries, columns: int, cursor: float | None) -> list[Line]:
    """The base line, with the cursor on it, and the times at its ends and in its middle."""
    first = series.since + series.step * (len(series.values) - columns)
    base = ["─"] * columns
    styles: list[Style] = ["rest"] * columns
    if cursor is not None:
        at = int((cursor - first) // series.step)
        if 0 <= at < columns:
            base[at], styles[at] = "▲", "accent"
    last = first + series.step * columns
    show = _day if last - first > 2 * 86400 else _minute if last - first > 600 else f.clock
    begin, middle, end = show(first), show((first + last) / 2), show(last)
    room = columns - len(begin) - len(end)
    if room > len(middle) + 2:
        labels = begin + middle.center(room) + end
    else:
        labels = begin + end.rjust(columns - len(begin)) if room > 0 else begin[:columns]
    return [
        Line((TextSpan(" " * (GUTTER - 2) + "0 ", "dim"), *joined(list(zip(base, styles, strict=True))))),
        line(TextSpan(" " * GUTTER), TextSpan(labels, "dim")),
    ]


def _minute(at: float) -> str:
    return f.clock(at)[:5]


def _day(at: float) -> str:
    return f.moment(at)[4:10]


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 5, 8 × 10ⁿ: an end of a scale that can be read."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1.0, 1.5, 2.0, 3.0, 5.0, 8.0) if step * power >= value * 0.999), 10 * power)
