"""The published tables as curves: closed loops for throughput, paced streams for knees. Files name their sources."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from capacity.tables.text_rows import read

DATA = Path(__file__).parent.parent / "data"

CLOSED_LOOPS = (
    ("funasr-onnx-cpu-concurrency.csv", "concurrent_tasks", "speedup", ("pipeline", "cpu", "precision")),
    ("usl-cisco-mysql-schwartz.csv", "concurrency", "throughput", ()),
    ("usl-mysql5627-schwartz.csv", "clients", "qps", ()),
    ("usl-raytracer-sgi-origin2000.csv", "processors", "throughput", ()),
    ("usl-specsdm91-sparccenter2000.csv", "load", "throughput", ()),
    ("sglang-omni-qwen3-asr-a100.csv", "concurrency", "throughput_samples_s", ()),
    ("sglang-omni-whisper-large-v3-rtx4090.csv", "concurrency", "req_s_mean", ()),
)


class Curve(NamedTuple):
    """One measured curve. Curves of one source are alike, and so leave a test together."""

    source: str
    name: str
    loads: list[float]
    figures: list[float]


class Knee(NamedTuple):
    """A published capacity: it lies in `[last_pass, first_fail)`; None where that end was not found."""

    name: str
    loads: list[float]
    figures: list[float]
    objective: float
    last_pass: float | None
    first_fail: float | None


def closed_loops() -> list[Curve]:
    """The 20 closed-loop throughput curves."""
    curves = []
    for file, load, metric, by in CLOSED_LOOPS:
        table = read(DATA / file)
        for key in table.keys(by) if by else [{}]:
            part = table.where(key)
            loads, figures = part.numbers(load), part.numbers(metric)
            pairs = sorted((n, x) for n, x in zip(loads, figures, strict=True) if n is not None and x is not None)
            name = " ".join(key.values()) or file.removesuffix(".csv")
            curves.append(Curve(file, name, [n for n, _ in pairs], [x for _, x in pairs]))
    return curves


class _Where(NamedTuple):
    """How a row of the truth table finds its levels: which rows, which figure, which bound in ms."""

    rows: dict[str, str]
    metric: str
    objective: float


def _where(system: str, gpu: str, config: str) -> _Where | None:
    if config.startswith("max_batch="):
        return _Where({"max_batch": config.split("=")[1]}, "lag_p95_ms", 500)
    if config in ("no batching", "5ms_max4", "20ms_max8"):
        return _Where({"config": config.replace("no batching", "B1")}, "lag_p95_ms", 500)
    if config.startswith("graph"):
        box = "L4-g6.4xlarge-K2" if gpu.startswith("L4 ") else "L40S-g6e.8xlarge-K4"
        return _Where({"box": box}, f"{config.split()[1]}_p95_ms", 300)
    if system == "microbench":
        return _Where({"gpu": gpu, "lanes": config.split("=")[1], "table": "steady"}, "p95_ms", 500)
    return None  # the truth is a page's own claim far beyond its levels, with no objective that a level shows


def knees() -> list[Knee]:
    """The rows of KNEES-truth.csv whose levels are published with an objective."""
    found = []
    for row in read(DATA / "KNEES-truth.csv").rows:
        cells = row.cells
        where = _where(cells["system"], cells["gpu"], cells["config"])
        if where is None:
            continue
        table = read(DATA / cells["file"]).where(where.rows)
        pairs = [(n, x) for n, x in zip(table.numbers("streams"), table.numbers(where.metric), strict=True) if n and x]
        found.append(
            Knee(
                f"{cells['system']} {cells['gpu']} {cells['config']}",
                [n for n, _ in sorted(pairs)],
                [x for _, x in sorted(pairs)],
                where.objective,
                _number(cells["last_pass"]),
                _number(cells["first_fail"]),
            )
        )
    return found


def below(knee: Knee, share: float) -> tuple[Sequence[float], Sequence[float]]:
    """The levels of a knee under a share of its last pass."""
    kept = [(n, x) for n, x in zip(knee.loads, knee.figures, strict=True) if n < share * (knee.last_pass or 0)]
    return [n for n, _ in kept], [x for _, x in kept]


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
