"""A few plain charts as inline SVG: no library, no script, readable in any browser and in print."""

from collections.abc import Sequence
from html import escape
from itertools import cycle
from typing import NamedTuple

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 16, 44
_COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7c3aed", "#b45309", "#0f766e", "#9d174d", "#475569", "#1d4ed8")


class Line(NamedTuple):
    """A named series of points; `marks` draws a dot at each."""

    name: str
    points: Sequence[tuple[float, float]]
    marks: bool = True


def line_chart(
    lines: Sequence[Line], x_label: str, y_label: str, limit: float | None = None, limit_name: str = "objective"
) -> str:
    """Lines over x, with a dashed horizontal line at `limit`."""
    points = [point for line in lines for point in line.points]
    if not points:
        return "<p>nothing was measured</p>"
    x_top = max(x for x, _ in points) or 1.0
    y_top = max([y for _, y in points] + ([limit] if limit else [])) * 1.08 or 1.0
    frame = _Frame(x_top, y_top)
    parts = [frame.axes(x_label, y_label)]
    if limit is not None:
        y = frame.y(limit)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" class="limit"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{y - 4}" text-anchor="end">{escape(limit_name)}</text>')
    for number, (line, colour) in enumerate(zip(lines, cycle(_COLOURS), strict=False)):
        path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if line.marks:
            parts += [f'<circle cx="{frame.x(x)}" cy="{frame.y(y)}" r="3" fill="{colour}"/>' for x, y in line.points]
        parts.append(f'<text x="{_LEFT + 8}" y="{_TOP + 12 + 14 * number}" fill="{colour}">{escape(line.name)}</text>')
    return _svg(parts, f"{y_label} over {x_label}")


def bar_chart(bars: Sequence[tuple[str, float]], y_label: str, limit: float | None = None) -> str:
    """One bar a name, in the order given."""
    if not bars:
        return "<p>nothing was measured</p>"
    top = max([value for _, value in bars] + ([limit] if limit else [])) * 1.08 or 1.0
    frame = _Frame(len(bars), top)
    parts = [frame.axes("", y_label, x_ticks=False)]
    width = (_WIDTH - _LEFT - _RIGHT) / len(bars)
    every = max(1, len(bars) // 24)
    for k, (name, value) in enumerate(bars):
        x, y = _LEFT + k * width, frame.y(value)
        parts.append(
            f'<rect x="{x + width * 0.1:.1f}" y="{y}" width="{width * 0.8:.1f}" height="{frame.y(0) - y:.1f}" '
            f'fill="{_COLOURS[0]}"><title>{escape(name)}: {value:.3g}</title></rect>'
        )
        if k % every == 0:
            parts.append(
                f'<text x="{x + width / 2:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{escape(name)}</text>'
            )
    if limit is not None:
        y = frame.y(limit)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" class="limit"/>')
    return _svg(parts, y_label)


class _Frame:
    """From data to pixels; both axes begin at 0."""

    def __init__(self, x_top: float, y_top: float) -> None:
        self._x_top = x_top
        self._y_top = y_top

    def x(self, value: float) -> float:
        return round(_LEFT + value / self._x_top * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value / self._y_top * (_HEIGHT - _TOP - _BOTTOM), 1)

    def axes(self, x_label: str, y_label: str, *, x_ticks: bool = True) -> str:
        turned = f'transform="rotate(-90 14 {_HEIGHT / 2})"'
        parts = [
            f'<path d="M{_LEFT} {_TOP} V{_HEIGHT - _BOTTOM} H{_WIDTH - _RIGHT}" class="axis"/>',
            f'<text x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>',
            f'<text x="14" y="{_HEIGHT / 2}" text-anchor="middle" {turned}>{escape(y_label)}</text>',
        ]
        for k in range(5):
            value = self._y_top * k / 4
            parts.append(f'<text x="{_LEFT - 6}" y="{self.y(value) + 4}" text-anchor="end">{value:.3g}</text>')
            if x_ticks:
                value = self._x_top * k / 4
                parts.append(
                    f'<text x="{self.x(value)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:.3g}</text>'
                )
        return "".join(parts)


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
