"""What `sweep --watch` sampled during a load test, as one row each: mean and peak over all levels."""

from collections.abc import Mapping, Sequence
from statistics import mean

import msgspec
from rich import box
from rich.table import Table

Rows = Sequence[Mapping[str, float]]
_GB = 1e9
_FIGURES = ("cpu_ratio", "memory_bytes", "gpu_ratio", "gpu_memory_bytes")


class MeanPeak(msgspec.Struct, frozen=True):
    """Of one figure over all samples; None where no sample has it."""

    mean: float | None
    peak: float | None


def summary(rows: Rows) -> dict[str, MeanPeak]:
    """Mean and peak of every figure that can be watched."""
    found = {}
    for name in _FIGURES:
        values = [row[name] for row in rows if name in row]
        found[name] = MeanPeak(mean(values), max(values)) if values else MeanPeak(None, None)
    return found


def watched_table(watched: Mapping[str, Rows]) -> Table:
    """One row for each thing that was watched. GPU columns only where one of them used a GPU that could be read."""
    sums = {name: summary(rows) for name, rows in watched.items()}
    shown = [
        name for name in _FIGURES if not name.startswith("gpu") or any(s[name].mean is not None for s in sums.values())
    ]
    titles = {
        "cpu_ratio": "CPU mean/peak, cores",
        "memory_bytes": "memory mean/peak, GB",
        "gpu_ratio": "GPU mean/peak, GPUs",
        "gpu_memory_bytes": "GPU memory mean/peak, GB",
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("watched")
    for name in shown:
        table.add_column(titles[name], justify="right")
    for name, figures in sums.items():
        scales = (1.0 if column.endswith("_ratio") else _GB for column in shown)
        table.add_row(name, *(_pair(figures[column], scale) for column, scale in zip(shown, scales, strict=True)))
    return table


def _pair(figure: MeanPeak, scale: float) -> str:
    if figure.mean is None or figure.peak is None:
        return "—"
    return f"{figure.mean / scale:.2f} / {figure.peak / scale:.2f}"
