"""Tables that the planner was not made on, with their sources: `gauntlet.csv`, and `blind.csv`, which nobody saw."""

from pathlib import Path
from typing import NamedTuple

from capacity.models.selection import Kind
from capacity.tables.text_rows import read
from tests.bench.planner_data import DATA, Curve, Knee, below, knees

FILE, BLIND = DATA / "gauntlet.csv", DATA / "blind.csv"
PUBLISHER = "the publisher of KNEES-truth"
BOUNDS = (4, 16)
"""A page that names no objective is asked for the load at which latency is so many times that of its lowest level."""
_STATED = {"sherpa-zipformer": 500.0}


class Case(NamedTuple):
    """A limit to be found from levels far below it, and who published it."""

    source: str
    knee: Knee


def throughputs() -> list[Curve]:
    """Throughput of closed loops, and of users who wait between requests."""
    return [curve for curve, _ in _curves("throughput")]


def latencies() -> list[Curve]:
    """Latency by load, of every kind of load, with the levels of KNEES-truth beside them."""
    known = [Curve(PUBLISHER, knee.name, knee.loads, knee.figures) for knee in knees()]
    return known + [curve for curve, _ in _curves("latency")]


def blind(kind: str) -> list[Curve]:
    """Throughput or latency of tables that were taken down after everything was set."""
    return [curve for curve, _ in _curves(kind, BLIND)]


def straight() -> list[tuple[Kind, Curve]]:
    """Memory and processor time, with their kind."""
    kinds: tuple[Kind, ...] = ("memory", "cpu")
    return [(kind, curve) for kind in kinds for curve, _ in _curves(kind)]


def limits() -> list[Case]:
    """The published knees, and limits of paced and open loads of other publishers; all with both ends."""
    cases = [Case(PUBLISHER, knee) for knee in knees() if knee.last_pass and knee.first_fail]
    for curve, loop in _curves("latency"):
        if loop == "closed":
            continue
        stated = _STATED.get(curve.name)
        for bound in [stated] if stated else [times * curve.figures[0] for times in BOUNDS]:
            found = _limit(curve, bound)
            if found is not None:
                cases.append(Case(curve.source, found))
    return [case for case in cases if (seen := below(case.knee, 0.7))[0] and seen[1][-1] < case.knee.objective]


def _limit(curve: Curve, bound: float) -> Knee | None:
    levels = list(zip(curve.loads, curve.figures, strict=True))
    fail = next((n for n, figure in levels if figure > bound), None)
    last = max((n for n, _ in levels if fail is not None and n < fail), default=None)
    if fail is None or last is None:
        return None
    times = f"{curve.name} ≤ {bound:g}"
    return Knee(times, curve.loads, curve.figures, bound, last, fail)


def _curves(kind: str, file: Path = FILE) -> list[tuple[Curve, str]]:
    table = read(file)
    curves = []
    for key in table.keys(("source", "curve", "loop", "kind", "metric")):
        if key["kind"] != kind:
            continue
        part = table.where(key)
        pairs = sorted(zip(part.numbers("load"), part.numbers("value"), strict=True))
        loads, figures = [n for n, _ in pairs if n is not None], [x for _, x in pairs if x is not None]
        curves.append((Curve(key["source"], key["curve"], loads, figures), key["loop"]))
    return curves
