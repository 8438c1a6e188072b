"""A picture of one law as inline SVG: what was measured, the law through it, the cap, and the interval of its limit."""

import math
from html import escape

from whisper_ops.plan.plan_document import Resource
from whisper_ops.plan.plan_sentences import limit_text

WIDTH, HEIGHT = 520.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 12.0, 14.0, 34.0


class Scale:
    """From figures to places on the paper."""

    def __init__(self, most_x: float, most_y: float) -> None:
        self.most_x, self.most_y = max(most_x, 1e-12), max(most_y, 1e-12)

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(max(value / self.most_x, 0), 1)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(max(value / self.most_y, 0), 1)


def picture(resource: Resource) -> str:
    """The SVG of a resource; it needs at least one measured point."""
    scale = _scale(resource)
    parts = [
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(_words(resource))}">',
        f"<title>{escape(_words(resource))}</title>",
        *_interval(resource, scale),
        *_axes(resource, scale),
        *_cap(resource, scale),
    ]
    if resource.curve:
        first, last = resource.curve[0][0], min(resource.curve[-1][0], scale.most_x)
        loads = [first + (last - first) * step / 80 for step in range(81)]
        inside = [(x, y) for x in loads if (y := resource.expected(x)) is not None and y <= scale.most_y]
        path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in inside)
        parts.append(f'<polyline class="law" points="{path}"/>')
    parts += [f'<circle class="seen" cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="3"/>' for x, y in resource.points]
    return "\n".join([*parts, "</svg>"])


def _scale(resource: Resource) -> Scale:
    seen_x = [x for x, _ in resource.points]
    seen_y = [y for _, y in resource.points]
    ends = [end for end in (resource.limit, resource.high) if end is not None and end <= 4 * max(seen_x)]
    cap = [resource.cap] if resource.cap is not None and resource.cap <= 20 * max(*seen_y, 1e-12) else []
    tallest = max([*seen_y, *cap])
    if resource.cap is not None and tallest > 4 * resource.cap:  # a cliff: show the law around its cap
        tallest = 4 * resource.cap
    return Scale(1.08 * max([*seen_x, *ends]), 1.12 * tallest)


def _axes(resource: Resource, scale: Scale) -> list[str]:
    lines = [
        f'<line class="axis" x1="{_LEFT}" y1="{HEIGHT - _BOTTOM}" x2="{WIDTH - _RIGHT}" y2="{HEIGHT - _BOTTOM}"/>',
        f'<line class="axis" x1="{_LEFT}" y1="{_TOP}" x2="{_LEFT}" y2="{HEIGHT - _BOTTOM}"/>',
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 4}" text-anchor="end">connections a GPU</text>',
    ]
    lines += [
        f'<text x="{scale.x(value):.1f}" y="{HEIGHT - 19}" text-anchor="middle">{value:g}</text>'
        for value in _ticks(scale.most_x)
    ]
    for value in _ticks(scale.most_y):
        text = f"{value:g} {escape(resource.unit)}".strip()
        lines.append(f'<text x="{_LEFT - 5}" y="{scale.y(value) + 4:.1f}" text-anchor="end">{text}</text>')
    return lines


def _cap(resource: Resource, scale: Scale) -> list[str]:
    if resource.cap is None or resource.cap > scale.most_y:
        return []
    y = scale.y(resource.cap)
    return [
        f'<line class="cap" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>',
        f'<text class="cap-text" x="{_LEFT + 6}" y="{y - 4:.1f}">{escape(resource.cap_text)}</text>',
    ]


def _interval(resource: Resource, scale: Scale) -> list[str]:
    low, high = resource.low, resource.high
    if low is None or high is None or low > scale.most_x:
        return []
    left, right = scale.x(low), scale.x(high)
    width, height = max(right - left, 1.5), HEIGHT - _TOP - _BOTTOM
    return [f'<rect class="interval" x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{height}"/>']


def _ticks(most: float) -> list[float]:
    """Three to seven round values."""
    size = 10.0 ** math.floor(math.log10(most / 3))
    step = max(size * nice for nice in (1, 2, 5) if size * nice <= most / 3)
    return [step * i for i in range(1, int(most / step) + 1)]


def _words(resource: Resource) -> str:
    limit = "no limit known" if resource.limit is None else f"limit {limit_text(resource)} connections a GPU"
    return f"{resource.name}: {resource.law}; cap {resource.cap_text}; {limit}"
