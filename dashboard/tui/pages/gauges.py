"""Small pictures of one line: the knee gauge, the sparkline with fixed bounds, and a bar."""

import math
from collections.abc import Sequence

from dashboard.tui.pages.styled_lines import Cell, Style, TextSpan

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"
GAP = "·"


def bar(ratio: float | None, width: int, style: Style = "fill") -> Cell:
    """A bar of `width` cells filled to `ratio`, in eighths of a cell; empty for None."""
    if ratio is None:
        return (TextSpan(GAP * width, "rest"),)
    full, part = _filled(ratio * width, width)
    return joined([(full + part, style), (GAP * (width - len(full + part)), "rest")])


def knee(
    now: float | None, safe: float, last_pass: float | None, width: int, style: Style = "fill", *, thin: bool = False
) -> Cell:
    """The knee gauge: filled to `now`, `│` at the planned safe limit, dots up to the largest level that passed.

    The scale ends at the largest of the three, so gauges of one plan line up. `now` None draws an empty gauge; a `thin`
    one is for a part of what a thick one shows.
    """
    top = max(now or 0.0, safe, last_pass or 0.0, 1.0)
    mark = min(width - 1, int(safe / top * width))
    full, part = _filled((now or 0.0) / top * width, width)
    if thin:
        full, part = full.replace("█", "━"), "╸" * bool(part)
    drawn = list((full + part).ljust(width, GAP))
    drawn[mark] = "│"
    filled = len(full + part)
    return joined([(char, "mark" if i == mark else style if i < filled else "rest") for i, char in enumerate(drawn)])


def spark(values: Sequence[float | None], high: float, low: float = 0.0, warn_at: float | None = None) -> Cell:
    """A sparkline between fixed bounds, a cell a value; `·` where nothing was measured.

    The bounds are the same for every row and every moment, so height means something and noise stays flat.
    """
    pieces: list[tuple[str, Style]] = []
    for value in values:
        if value is None or not math.isfinite(value):
            pieces.append((GAP, "rest"))
            continue
        share = (value - low) / (high - low)
        glyph = _LEVELS[max(0, min(len(_LEVELS) - 1, int(share * len(_LEVELS))))]
        pieces.append((glyph, "bad" if value >= high else "warn" if warn_at and value >= warn_at else "fill"))
    return joined(pieces)


def _filled(cells: float, width: int) -> tuple[str, str]:
    """Whole blocks and the part of one for a bar `cells` long, at most `width`."""
    eighths = round(max(0.0, min(float(width), cells)) * 8)
    # What is not nothing is seen as something.
    if eighths == 0 and cells > 0:
        eighths = 1
    return "█" * (eighths // 8), _EIGHTHS[eighths % 8].strip()


def joined(pieces: Sequence[tuple[str, Style]]) -> Cell:
    """Neighbours of one style as one span."""
    spans: list[TextSpan] = []
    for text, style in pieces:
        if not text:
            continue
        if spans and spans[-1].style == style:
            spans[-1] = TextSpan(spans[-1].text + text, style)
        else:
            spans.append(TextSpan(text, style))
    return tuple(spans)
