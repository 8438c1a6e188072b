"""A few plain charts as inline SVG: no library, no script, readable in any browser and in print."""

import math
from collections.abc import Sequence
from html import escape
from itertools import cycle
from typing import NamedTuple

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 30, 44
_COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7c3aed", "#b45309", "#0f766e", "#9d174d", "#475569", "#1d4ed8")


class SvgLine(NamedTuple):
    """A named series of points; `marks` draws a dot at each."""

    name: str
    points: Sequence[tuple[float, float]]
    marks: bool = True


def line_chart(
    lines: Sequence[SvgLine],
    x_label: str,
    y_label: str,
    limits: Sequence[tuple[str, float]] = (),
    *,
    whole_x: bool = False,
) -> str:
    """Lines over x.

    Args:
        lines: the series; a legend above the picture names them.
        x_label: what x is.
        y_label: what y is.
        limits: names and heights of dashed horizontal lines.
        whole_x: x counts things, so only whole numbers are marked.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        return "<p>nothing was measured</p>"
    frame = _Frame(max(x for x, _ in points), max([y for _, y in points] + [y for _, y in limits]))
    parts = [frame.axes(x_label, y_label, x_step=_step(frame.x_top, whole=whole_x)), *_limits(frame, limits)]
    at = float(_LEFT)
    for line, colour in zip(lines, cycle(_COLOURS), strict=False):
        path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if line.marks:
            parts += [f'<circle cx="{frame.x(x)}" cy="{frame.y(y)}" r="3" fill="{colour}"/>' for x, y in line.points]
        parts.append(f'<text x="{at:.0f}" y="14" fill="{colour}">{escape(line.name)}</text>')
        at += 6.2 * len(line.name) + 16
    return _svg(parts, f"{y_label} over {x_label}")


def bar_chart(bars: Sequence[tuple[str, float]], y_label: str, limits: Sequence[tuple[str, float]] = ()) -> str:
    """One bar a name, in the order given."""
    if not bars:
        return "<p>nothing was measured</p>"
    frame = _Frame(len(bars), max([value for _, value in bars] + [y for _, y in limits]))
    parts = [frame.axes("", y_label, x_step=None)]
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
    return _svg([*parts, *_limits(frame, limits)], y_label)


def _limits(frame: "_Frame", limits: Sequence[tuple[str, float]]) -> list[str]:
    parts = []
    for name, value in limits:
        y = frame.y(value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" class="limit"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{y - 4}" text-anchor="end">{escape(name)}</text>')
    return parts


def _step(top: float, *, whole: bool = False) -> float:
    """A round distance between ticks, so that there are about five of them."""
    rough = top / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return max(1.0, round(step)) if whole else step


class _Frame:
    """From data to pixels; both axes begin at 0, and y ends with a round number."""

    def __init__(self, x_top: float, y_top: float) -> None:
        self.x_top = x_top or 1.0
        self._y_step = _step(y_top or 1.0)
        self._y_top = math.ceil((y_top or 1.0) / self._y_step - 1e-9) * self._y_step

    def x(self, value: float) -> float:
        return round(_LEFT + value / self.x_top * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - value / self._y_top * (_HEIGHT - _TOP - _BOTTOM), 1)

    def axes(self, x_label: str, y_label: str, x_step: float | None) -> str:
        turned = f'transform="rotate(-90 14 {_HEIGHT / 2})"'
        parts = [
            f'<path d="M{_LEFT} {_TOP} V{_HEIGHT - _BOTTOM} H{_WIDTH - _RIGHT}" class="axis"/>',
            f'<text x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>',
            f'<text x="14" y="{_HEIGHT / 2}" text-anchor="middle" {turned}>{escape(y_label)}</text>',
        ]
        low = _HEIGHT - _BOTTOM + 16
        parts += [
            f'<text x="{_LEFT - 6}" y="{self.y(value) + 4}" text-anchor="end">{value:g}</text>'
            for value in _ticks(self._y_top, self._y_step)
        ]
        parts += [
            f'<text x="{self.x(value)}" y="{low}" text-anchor="middle">{value:g}</text>'
            for value in (_ticks(self.x_top, x_step) if x_step else ())
        ]
        return "".join(parts)


def _ticks(top: float, step: float) -> list[float]:
    return [round(k * step, 9) for k in range(int(top / step + 1e-9) + 1)]


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
