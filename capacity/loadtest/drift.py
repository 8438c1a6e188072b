"""Does the lag grow under the same load, does memory? Slopes over the blocks of a soak, with their intervals."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from capacity.models.linear import fit_series
from whisper_ops.formatting import planned_time
from whisper_ops.history import LevelRecord
from whisper_ops.objective.judgement import is_evidence

_CONFIDENCE = 0.95
"""Two-sided."""
_FEWEST = 8
"""Blocks: a line through a few points always looks good."""
_MATERIAL = 0.01
"""Share of its mean that a figure must have changed by in the time: nobody minds less."""
_HOUR = 3600.0
_FIGURES: tuple[tuple[str, str, float, Callable[[LevelRecord], float | None]], ...] = (
    ("stable p50", "s", 1.0, lambda block: block.stable_p50_seconds),
    ("stable p95", "s", 1.0, lambda block: block.stable_p95_seconds),
    ("the server's memory", "MB", 1e6, lambda block: block.server_rss_bytes),
    ("GPU memory", "MB", 1e6, lambda block: block.gpu_memory_used_bytes),
)


class Slope(msgspec.Struct, frozen=True):
    """How a figure changes, a unit an hour."""

    name: str
    unit: str
    per_hour: float
    low: float
    high: float
    material: bool = True
    """Whether the change in the time measured is worth a word."""

    @property
    def grows(self) -> bool:
        """Whether it surely does, and so much that it matters."""
        return self.low > 0 and self.material

    def __str__(self) -> str:
        return f"{self.name} {self.per_hour:+.3g} {self.unit} an hour ({self.low:+.3g} to {self.high:+.3g})"


def slope(name: str, unit: str, points: Sequence[tuple[float, float]]) -> Slope | None:
    """The line through (seconds, value) with the interval of its slope; None with too few points."""
    hours, values = [at / _HOUR for at, _ in points], [value for _, value in points]
    line = fit_series(hours, values) if len(points) >= _FEWEST else None
    if line is None:
        return None
    half = line.slope_unsure(_CONFIDENCE)
    material = abs(line.slope) * (max(hours) - min(hours)) > _MATERIAL * abs(sum(values) / len(values))
    return Slope(name, unit, line.slope, line.slope - half, line.slope + half, material)


def slopes(blocks: Sequence[LevelRecord], watched: dict[str, list[dict[str, float]]]) -> list[Slope]:
    """The slopes of everything that was measured in every block, and of the memory of what was watched."""
    usable = [block for block in blocks if is_evidence(block.audit)]
    found = []
    for name, unit, scale, read in _FIGURES:
        points = [(block.started_at, value / scale) for block in usable if (value := read(block)) is not None]
        found.append(slope(name, unit, points))
    for name, rows in watched.items():
        found.append(slope(f"memory of {name}", "MB", _by_block(rows, usable)))
    return [one for one in found if one is not None]


def soak_conclusion(blocks: Sequence[LevelRecord], watched: dict[str, list[dict[str, float]]]) -> str:
    """The verdict of a soak in a sentence or two."""
    held = sum(block.duration_seconds for block in blocks)
    met = sum(block.passed is True for block in blocks)
    time = planned_time(held)
    head = f"held for {time}: {met} of {len(blocks)} blocks met the objective"
    found = slopes(blocks, watched)
    if not found:
        return f"{head}; fewer than {_FEWEST} usable blocks say nothing of a drift"
    growing = [one for one in found if one.grows]
    if growing:
        return f"{head}; growing: {'; '.join(map(str, growing))}"
    return f"{head}; nothing grows: {'; '.join(map(str, found))}"


def _by_block(rows: Iterable[dict[str, float]], blocks: Sequence[LevelRecord]) -> list[tuple[float, float]]:
    kept = list(rows)
    points = []
    for block in blocks:
        until = block.started_at + block.duration_seconds
        inside = [row["memory_bytes"] for row in kept if block.started_at <= row["at"] < until]
        if inside:
            points.append((block.started_at, sum(inside) / len(inside) / 1e6))
    return points
